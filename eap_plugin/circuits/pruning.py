"""Removal of edges that are on no path from the embedding to the logits (as EAP-IG and MIB do before evaluation)."""

from __future__ import annotations

from jaxtyping import Bool
from torch import Tensor

from eap_plugin.model.edge_matrix import reader_feeds
from eap_plugin.model.graph import Graph


def connected_nodes(graph: Graph, edges: Bool[Tensor, "sources readers"]) -> Bool[Tensor, "sources"]:
    """Return a mask of the writers that have an edge out and an edge in; ``input`` needs no edge in."""
    has_in = reader_feeds(graph).T[:, edges.any(0)].any(1)
    has_in[0] = True
    return has_in & edges.any(1)


def connected_readers(graph: Graph, nodes: Bool[Tensor, "sources"]) -> Bool[Tensor, "readers"]:
    """Return a mask of the readers that one of the given writers is computed from, and of the logits."""
    readers = reader_feeds(graph)[:, nodes].any(1)
    readers[-1] = True
    return readers


def keep_connected(graph: Graph, edges: Bool[Tensor, "sources readers"]) -> Bool[Tensor, "sources readers"]:
    """Return the edges that lie on a path from ``input`` to the logits.

    A writer without an edge in or without an edge out is removed with its edges, until nothing changes. A head's
    output follows from any of its q, k and v inputs; with grouped-query attention, from the k and v of its group.
    """
    while True:
        nodes = connected_nodes(graph, edges)
        kept = edges & nodes[:, None] & connected_readers(graph, nodes)
        if bool((kept == edges).all()):
            return kept
        edges = kept
