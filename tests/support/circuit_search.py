"""Circuits by search over names of nodes: an oracle for what works on masks."""

from __future__ import annotations

from hypothesis import strategies as st

from eap_plugin.model.graph import Graph

GRAPHS = st.builds(
    lambda layers, groups, group, parallel, has_mlp: Graph(layers, groups * group, groups, parallel, has_mlp),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.booleans(), st.booleans(),
)  # fmt: skip


def all_edges(graph: Graph) -> list[str]:
    """Return the names of a graph's edges, in its order."""
    return [
        graph.edge_name(row, column)
        for row in range(len(graph.sources))
        for column, reader in enumerate(graph.readers)
        if row < reader.n_upstream
    ]


def computed_from(graph: Graph, reader: str) -> list[str]:
    """Return the writers whose output follows from a reader, by name."""
    if "<" not in reader:
        return [reader]
    head, slot = reader.rstrip(">").split("<")
    layer, number = head.split(".h")
    group = graph.n_heads // graph.n_kv_heads
    return [f"{layer}.h{h}" for h in range(graph.n_heads) if (h if slot == "q" else h // group) == int(number)]


def on_a_path(graph: Graph, edges: list[str]) -> list[str]:
    """Return those of the edges that are on a path from ``input`` to the logits, in the same order."""
    pairs = [name.split("->") for name in edges]
    reached, leading = {"input"}, set[str]()
    for source, reader in pairs:  # in the graph's order, so that all edges into a writer come before those out of it
        if source in reached:
            reached |= set(computed_from(graph, reader))
    for source, reader in reversed(pairs):
        if _leads_on(graph, reader, leading):
            leading.add(source)
    return [
        f"{source}->{reader}"
        for source, reader in pairs
        if source in reached and _leads_on(graph, reader, leading & reached)
    ]


def _leads_on(graph: Graph, reader: str, leading: set[str]) -> bool:
    """Return whether a reader is the logits, or a writer computed from it leads to them."""
    return reader == "logits" or bool(set(computed_from(graph, reader)) & leading)


def greedy(graph: Graph, scores: dict[str, float], n: int) -> set[str]:
    """Return the edges that a search over a frontier takes; of equal scores, the first in the graph's order."""
    taken: list[str] = []
    reached = {"logits"}
    for _ in range(n):
        frontier = [
            edge
            for edge in all_edges(graph)
            if edge not in taken
            and (edge.endswith("->logits") or reached & set(computed_from(graph, edge.partition("->")[2])))
        ]
        edge = max(frontier, key=scores.__getitem__)
        taken.append(edge)
        reached.add(edge.partition("->")[0])
    return set(taken)
