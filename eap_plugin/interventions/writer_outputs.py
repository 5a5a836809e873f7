"""What single writers add, and what single readers make of a residual stream, as formulas of one run's values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.gradient.scorer import output_weight
from eap_plugin.interventions.recording import Writers
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import Layer, ResidualModel


def heads_add(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "heads batch pos d_model"]:
    """What each head of a layer adds to the residual stream, from its scaled ``z``."""
    return torch.einsum("bphe,hed->hbpd", z, output_weight(layer).to(z.dtype))


def writer_adds(model: ResidualModel, writers: Writers, row: int) -> Float[Tensor, "batch pos d_model"]:
    """What the writer in this row of the graph's sources adds to the residual stream."""
    if row == 0:
        return writers.embed
    index, part = divmod(row - 1, model.graph.sources_per_layer)
    if part == model.graph.n_heads:
        return writers.mlp[index]
    z = writers.z[index][:, :, part]
    return z @ output_weight(model.layers[index])[part].to(z.dtype)


def all_add(model: ResidualModel, writers: Writers, part: slice) -> Float[Tensor, "sources batch part d_model"]:
    """What every writer adds at some of the positions."""
    graph, embed = model.graph, writers.embed[:, part]
    added = embed.new_empty(len(graph.sources), *embed.shape)
    added[0] = embed
    for index, layer in enumerate(model.layers):
        head, mlp = graph.head_row(index), graph.mlp_row(index)
        added[head:mlp] = heads_add(layer, writers.z[index][:, part])
        if graph.has_mlp:
            added[mlp] = writers.mlp[index][:, part]
    return added


def heads_read(
    layer: Layer,
    slot: Literal["q", "k", "v"],
    x: Float[Tensor, "readers batch pos d_model"],
    heads: Sequence[int] | slice,
) -> Float[Tensor, "readers batch pos d_head"]:
    """The projections of some heads, each of which reads a residual stream of its own."""
    W, b = layer.project(slot)
    read = torch.einsum("rbpd,rde->rbpe", normed(layer.attn_norm, x).to(W.dtype), W[heads])
    return read if b is None else read + b[heads][:, None, None]


def normed(norm: Norm | None, x: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
    """What a norm gives; ``x`` itself where there is none."""
    return x if norm is None else norm.apply(x)
