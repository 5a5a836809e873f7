"""The layout of edge score matrices: which entries are edges, and summing q, k and v into one reader."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.model.graph import Graph


def edge_mask(graph: Graph) -> Bool[Tensor, "sources readers"]:
    """Return a mask that is true where the graph has an edge."""
    cuts = torch.tensor([reader.n_upstream for reader in graph.readers])
    return torch.arange(len(graph.sources))[:, None] < cuts


def sum_qkv(
    graph: Graph, matrix: Float[Tensor, "*pos sources readers"]
) -> tuple[Graph, Float[Tensor, "*pos sources readers"]]:
    """Sum the scores of each head's (with grouped-query attention: each group's) q, k and v inputs into one reader."""
    if graph.summed_qkv:
        return graph, matrix
    columns = summed_columns(graph)
    summed = replace(graph, summed_qkv=True)
    out = matrix.new_zeros(*matrix.shape[:-1], len(summed.readers))
    return summed, out.index_add_(-1, torch.tensor(columns, device=matrix.device), matrix)


def summed_columns(graph: Graph) -> list[int]:
    """Return, for each reader of a graph, the column of its sum with the other inputs of its head or group."""
    summed = replace(graph, summed_qkv=True)
    group = graph.n_heads // graph.n_kv_heads
    columns = []
    for reader in graph.readers:
        slot = "qkv" if reader.slot in ("q", "k", "v") else reader.slot
        head = reader.head // group if reader.slot == "q" else reader.head
        columns.append(summed.columns[summed.reader_name(reader._replace(slot=slot, head=head))])
    return columns


def reader_feeds(graph: Graph) -> Bool[Tensor, "readers sources"]:
    """Return a mask that is true where a writer's output is computed from a reader.

    A head is computed from its q, k and v inputs, with grouped-query attention from the k and v of its group; an MLP
    from its input. The logits feed no writer.
    """
    feeds = torch.zeros(len(graph.readers), len(graph.sources), dtype=torch.bool)
    group = graph.n_heads // graph.n_kv_heads
    for column, reader in enumerate(graph.readers):
        if reader.slot == "mlp":
            feeds[column, graph.mlp_row(reader.layer)] = True
        elif reader.slot != "logits":
            first, count = (reader.head, 1) if reader.slot == "q" else (reader.head * group, group)
            row = graph.head_row(reader.layer) + first
            feeds[column, row : row + count] = True
    return feeds


def ungrouped(graph: Graph) -> Graph:
    """Return the graph with one k and one v reader for each query head, as EAP-IG, MIB and AutoCircuit have it."""
    return replace(graph, n_kv_heads=graph.n_heads)


def ungroup_columns(graph: Graph) -> list[int]:
    """Return, for each reader of ``ungrouped(graph)``, the column of the reader of ``graph`` that it belongs to."""
    group = graph.n_heads // graph.n_kv_heads
    return [
        graph.columns[graph.reader_name(reader._replace(head=reader.head // group))]
        if reader.slot in ("k", "v", "qkv")
        else graph.columns[graph.reader_name(reader)]
        for reader in ungrouped(graph).readers
    ]
