"""Edges and their scores, as tables and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table

from eap_plugin.cli.output import numbers, table

if TYPE_CHECKING:
    from eap_plugin.scores import PruneScores


def edges_json(scores: PruneScores, k: int) -> list[dict[str, Any]]:
    """The strongest edges as plain values; ``position`` is there only if scores are kept per position."""
    return [{name: value for name, value in edge._asdict().items() if value is not None} for edge in scores.top(k)]


def edges_table(scores: PruneScores, k: int) -> Table:
    """The ``k`` strongest edges with their scores, the strongest first."""
    edges = scores.top(k)
    unit = scores.metadata.get("metric_unit")
    score = f"Score ({unit})" if unit else "Score"
    columns = ["Edge", *["Position"] * scores.has_positions, score]
    rows = [
        [edge.name, *[str(edge.position)] * scores.has_positions, text]
        for edge, text in zip(edges, numbers([edge.score for edge in edges]), strict=True)
    ]
    return table(columns, rows, right=("Position",))
