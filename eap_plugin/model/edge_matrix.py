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
    summed = replace(graph, summed_qkv=True)
    group = graph.n_heads // graph.n_kv_heads
    columns = []
    for reader in graph.readers:
        slot = "qkv" if reader.slot in ("q", "k", "v") else reader.slot
        head = reader.head // group if reader.slot == "q" else reader.head
        columns.append(summed.columns[summed.reader_name(reader._replace(slot=slot, head=head))])
    out = matrix.new_zeros(*matrix.shape[:-1], len(summed.readers))
    return summed, out.index_add_(-1, torch.tensor(columns, device=matrix.device), matrix)
