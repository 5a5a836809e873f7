"""Edges, nodes or neurons and their scores, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from eap_plugin.cli.output import numbers, table
from eap_plugin.results.score_unit import with_unit

if TYPE_CHECKING:
    from eap_plugin.results.node_scores import Node, NodeScores
    from eap_plugin.results.prune_scores import Edge, PruneScores


ALPHA = 0.05
"""The level of the tests whose results are shown; see ``Grouped.significant``."""


def counted(scores: PruneScores | NodeScores) -> str:
    """Return the number of scored edges, nodes or neurons, such as ``262 edges``."""
    return f"{scores.n_scored:,} {scores.level}s"


def established(scores: PruneScores | NodeScores) -> str:
    """Return how many scores have an established sign, such as ``121 of 190 edges``; empty if they are not grouped."""
    if scores.groups is None:
        return ""
    where = f" at {len(scores.matrix)} positions" if scores.has_positions else ""
    count = int(scores.significant(ALPHA).sum())
    return f"{count:,} of {counted(scores)}{where} (p < {ALPHA}, from {len(scores.groups)} groups of prompts)"


def scores_json(scores: PruneScores | NodeScores, k: int) -> dict[str, Any]:
    """Return how many are scored and the strongest as plain values, under ``n_edges`` and ``edges`` for edges.

    If scores are kept by group of prompts, ``n_significant`` is the number of those whose sign is established.
    """
    grouped = {} if scores.groups is None else {"n_significant": int(scores.significant(ALPHA).sum())}
    return {f"n_{scores.level}s": scores.n_scored, **grouped, f"{scores.level}s": edges_json(scores, k)}


def edges_json(scores: PruneScores | NodeScores, k: int) -> list[dict[str, Any]]:
    """Return the strongest as plain values, with ``position`` only if scores are kept per position."""
    return [{name: value for name, value in edge._asdict().items() if value is not None} for edge in _top(scores, k)]


def edges_table(scores: PruneScores | NodeScores, k: int) -> Table:
    """Return a table of the ``k`` strongest and their scores, the strongest first."""
    edges, grouped = _top(scores, k), scores.groups is not None
    score = with_unit("Score", scores.metadata)
    columns = [scores.level.capitalize(), *["Position"] * scores.has_positions, score, *["Std. error"] * grouped]
    errors = [text.replace("+", "±", 1) for text in numbers([edge.stderr or 0.0 for edge in edges])]
    rows = [
        [edge.name, *[str(edge.position)] * scores.has_positions, text, *[error] * grouped]
        for edge, text, error in zip(edges, numbers([edge.score for edge in edges]), errors, strict=True)
    ]
    return table(columns, rows, right=("Position",))


def _top(scores: PruneScores | NodeScores, k: int) -> Sequence[Edge | Node]:
    return scores.top(k)
