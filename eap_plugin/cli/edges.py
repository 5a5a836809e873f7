"""Edges, nodes or neurons and their scores, and circuits, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from eap_plugin.cli.output import numbers, table

if TYPE_CHECKING:
    from eap_plugin.circuits.circuit import Circuit
    from eap_plugin.results.node_scores import Node, NodeScores
    from eap_plugin.results.prune_scores import Edge, PruneScores


def counted(scores: PruneScores | NodeScores) -> str:
    """Return the number of scored edges, nodes or neurons, such as ``262 edges``."""
    return f"{scores.n_scored:,} {scores.level}s"


def scores_json(scores: PruneScores | NodeScores, k: int) -> dict[str, Any]:
    """Return how many are scored and the strongest as plain values, under ``n_edges`` and ``edges`` for edges."""
    return {f"n_{scores.level}s": scores.n_scored, f"{scores.level}s": edges_json(scores, k)}


def edges_json(scores: PruneScores | NodeScores, k: int) -> list[dict[str, Any]]:
    """Return the strongest as plain values, with ``position`` only if scores are kept per position."""
    return [{name: value for name, value in edge._asdict().items() if value is not None} for edge in _top(scores, k)]


def edges_table(scores: PruneScores | NodeScores, k: int) -> Table:
    """Return a table of the ``k`` strongest and their scores, the strongest first."""
    edges = _top(scores, k)
    unit = scores.metadata.get("metric_unit")
    score = f"Score ({unit})" if unit else "Score"
    columns = [scores.level.capitalize(), *["Position"] * scores.has_positions, score]
    rows = [
        [edge.name, *[str(edge.position)] * scores.has_positions, text]
        for edge, text in zip(edges, numbers([edge.score for edge in edges]), strict=True)
    ]
    return table(columns, rows, right=("Position",))


def circuit_json(circuit: Circuit, k: int) -> dict[str, Any]:
    """Return the size of a circuit and its strongest edges as plain values."""
    edges = [
        {"name": name} if score is None else {"name": name, "score": score} for name, score in _strongest(circuit, k)
    ]
    return {"n_edges": circuit.n_edges, "n_nodes": len(circuit.nodes), "edges": edges}


def circuit_table(circuit: Circuit, k: int) -> Table:
    """Return a table of the ``k`` strongest edges of a circuit, or of its first ones if it has no scores."""
    edges = _strongest(circuit, k)
    if circuit.scores is None:
        return table(["Edge of the circuit"], [[name] for name, _ in edges])
    texts = numbers([score for _, score in edges if score is not None])
    return table(["Edge of the circuit", "Score"], [[name, text] for (name, _), text in zip(edges, texts, strict=True)])


def _strongest(circuit: Circuit, k: int) -> list[tuple[str, float | None]]:
    """Return the names and scores of the strongest edges, strongest first; the first ones if there are no scores."""
    if circuit.scores is None:
        return [(name, None) for name in circuit.edge_names[:k]]
    scored = zip(circuit.edge_names, circuit.scores[circuit.edges].tolist(), strict=True)
    return sorted(scored, key=lambda edge: -abs(edge[1]))[:k]


def _top(scores: PruneScores | NodeScores, k: int) -> Sequence[Edge | Node]:
    return scores.top(k)
