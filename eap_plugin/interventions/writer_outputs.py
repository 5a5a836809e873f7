"""What every writer adds to the residual stream in one run, kept small, and expanded where it is needed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.model.layer import Layer
from eap_plugin.model.residual_model import ResidualModel


@dataclass
class Writers:
    """What every writer adds to the residual stream in one run, kept small: heads as their scaled ``z``.

    A head's contribution is ``z[layer][..., head, :] @ output_weight(layer)[head]``.

    Attributes:
        embed: what ``input`` adds, [batch, pos, d_model].
        z: per layer [batch, pos, heads, d_head]; times the scale of the norm after attention, if there is one.
        mlp: per layer [batch, pos, d_model]; empty for attention-only models.
    """

    embed: Float[Tensor, "batch pos d_model"]
    z: list[Float[Tensor, "batch pos heads d_head"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]

    def minus(self, other: Writers) -> Writers:
        """The change from ``other`` to this run."""
        return Writers(
            self.embed - other.embed,
            [a - b for a, b in zip(self.z, other.z, strict=True)],
            [a - b for a, b in zip(self.mlp, other.mlp, strict=True)],
        )


def output_weight(layer: Layer) -> Float[Tensor, "heads d_head d_model"]:
    """W_O with the norm after attention, if any, folded in (its scale is in ``Writers.z``)."""
    norm = layer.attn_post_norm
    return layer.W_O if norm is None else norm.gain(norm.centre(layer.W_O))


def scaled_z(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "batch pos heads d_head"]:
    """A copy of ``z``, times the scale of the norm that follows attention, if there is one.

    With that scale held at its value in this run, what the heads add is linear in ``z`` and adds up exactly.
    """
    if layer.attn_post_norm is None:
        return z.clone()
    return z * layer.attn_post_norm.stats(attention_output(layer, z)).scale[..., None]


def attention_output(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "batch pos d_model"]:
    """What attention's output projection gives for all heads together, bias included."""
    out = z.flatten(2) @ layer.W_O.flatten(0, 1)
    return out if layer.b_O is None else out + layer.b_O


def heads_add(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "heads batch pos d_model"]:
    """What each head of a layer adds to the residual stream, from its scaled ``z``."""
    return torch.einsum("bphe,hed->hbpd", z, output_weight(layer).to(z.dtype))


def writer_adds(model: ResidualModel, writers: Writers, row: int) -> Float[Tensor, "batch pos d_model"]:
    """What the writer in this row of the graph's sources adds to the residual stream."""
    kind, index, head = model.graph.writer(row)
    if kind == "input":
        return writers.embed
    if kind == "mlp":
        return writers.mlp[index]
    z = writers.z[index][:, :, head]
    return z @ output_weight(model.layers[index])[head].to(z.dtype)


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
