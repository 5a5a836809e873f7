"""Scores and circuits as a ``networkx`` graph in which every path is one that information takes through the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError
from eap_plugin.lazy import optional
from eap_plugin.model.edge_matrix import reader_feeds
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.base import Exportable
from eap_plugin.score_format.csv_table import neurons_lost
from eap_plugin.score_format.table import KEY, header_of, rows_of


def to_networkx(results: PruneScores | Circuit) -> Any:
    """Make a ``networkx.DiGraph`` of scores of edges, or of a circuit.

    Its nodes are the writers, the q, k and v inputs of heads, and ``logits``; an MLP is one node. Each has the
    attributes ``kind`` (``input``, ``head``, ``q``, ``k``, ``v``, ``qkv``, ``mlp`` or ``logits``), ``layer`` and
    ``head``. An edge from a writer to what reads it has the attribute ``score``, if it is known. An edge from an input
    of a head to the head has none; with it, every path from ``input`` to ``logits`` is one through the model. The
    graph's attribute ``eap_plugin`` is what reading it back needs.

    Args:
        results: scores, which are summed over positions, or a circuit, of which there are only its edges and nodes.

    Raises:
        UsageError: if these are scores of nodes or neurons.
    """
    results = edges_only(results)
    results = results if isinstance(results, Circuit) else results.sum_positions()
    graph = results.graph
    made = optional("networkx", "to_networkx").DiGraph(**{KEY: header_of(results).to_json()})
    rows = [(name.split("->"), score) for name, _, score in rows_of(results)]
    names = {name for ends, _ in rows for name in ends}
    inner = list(inner_edges(graph, names))
    for name in _in_order(graph, names.union(*inner)):
        made.add_node(name, **_attributes(graph, name))
    made.add_edges_from((*ends, {} if score is None else {"score": score}) for ends, score in rows)
    made.add_edges_from(inner)
    return made


def edges_only(results: Exportable) -> PruneScores | Circuit:
    """Return the results, which must be scores of edges or a circuit.

    Raises:
        UsageError: if they are scores of nodes or neurons.
    """
    if isinstance(results, (PruneScores, Circuit)):
        return results
    raise UsageError(f"a graph of edges cannot hold scores of {results.level}s; export them as csv")


def graph_losses(results: Exportable) -> list[str]:
    """Return what graphs of this kind cannot hold of these results."""
    summed = ["positions: scores are summed over them"]
    return neurons_lost(results) + summed * (isinstance(results, PruneScores) and results.has_positions)


def inner_edges(graph: Graph, names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the inputs of heads among ``names``, each with the heads that are computed from it."""
    feeds, wanted = reader_feeds(graph), set(names)
    for column, reader in enumerate(graph.readers):
        name = graph.reader_name(reader)
        if name in wanted and reader.slot not in ("mlp", "logits"):
            heads = (graph.sources[row] for row in feeds[column].nonzero().flatten().tolist())
            yield from ((name, head) for head in heads if head != name)


def _in_order(graph: Graph, names: Iterable[str]) -> list[str]:
    """Return the names in the order of the model, a head after its inputs."""
    order: dict[str, tuple[int, int]] = {}
    for row, name in enumerate(graph.sources):
        order[name] = (row, len(graph.readers))
    for column, reader in enumerate(graph.readers):
        if reader.slot != "mlp":
            order.setdefault(graph.reader_name(reader), (reader.n_upstream, column))
    return sorted(names, key=order.__getitem__)


def _attributes(graph: Graph, name: str) -> dict[str, Any]:
    if name in graph.rows:
        kind, layer, head = graph.writer(graph.rows[name])
        return {"kind": kind, "layer": layer, "head": head}
    reader = graph.readers[graph.columns[name]]
    return {"kind": reader.slot, "layer": reader.layer, "head": reader.head}
