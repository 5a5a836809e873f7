"""The output of every writer in one run: stored compactly, and expanded to d_model where needed.

A head's output is stored as ``z``, in d_head dimensions, and expanded by W_O. Where a norm follows attention (Gemma 2
and 3, OLMo 2), its scale is held at its value in the run. The norm is then linear, and the heads' outputs sum exactly
to what the block adds to the residual stream.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.model.layer import Layer
from eap_plugin.model.residual_model import ResidualModel


@dataclass
class Writers:
    """What every writer adds to the residual stream in one run; heads are stored as their scaled ``z``.

    A head's output is ``z[layer][..., head, :] @ output_weight(layer)[head]``.

    Attributes:
        embed: what ``input`` adds, [batch, pos, d_model].
        z: per layer [batch, pos, heads, d_head]; multiplied by the scale of the norm after attention, if there is one.
        mlp: per layer [batch, pos, d_model]; empty for attention-only models.
    """

    embed: Float[Tensor, "batch pos d_model"]
    z: list[Float[Tensor, "batch pos heads d_head"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]

    def minus(self, other: Writers) -> Writers:
        """Return the difference, this run minus ``other``."""
        return Writers(
            self.embed - other.embed,
            [a - b for a, b in zip(self.z, other.z, strict=True)],
            [a - b for a, b in zip(self.mlp, other.mlp, strict=True)],
        )


def output_weight(layer: Layer) -> Float[Tensor, "heads d_head d_model"]:
    """Return W_O with the norm after attention, if any, folded in; the norm's scale is part of ``Writers.z``."""
    norm = layer.attn_post_norm
    return layer.W_O if norm is None else norm.gain(norm.centre(layer.W_O))


def scaled_z(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "batch pos heads d_head"]:
    """Return a copy of ``z``, multiplied by the scale of the norm after attention if there is one.

    With that scale held at its value in this run, the heads' outputs are linear in ``z`` and sum to the block's output.
    """
    if layer.attn_post_norm is None:
        return z.clone()
    return z * layer.attn_post_norm.stats(attention_output(layer, z)).scale[..., None]


def attention_output(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "batch pos d_model"]:
    """Apply attention's output projection to all heads, with its bias."""
    out = z.flatten(2) @ layer.W_O.flatten(0, 1)
    return out if layer.b_O is None else out + layer.b_O


def heads_add(layer: Layer, z: Float[Tensor, "batch pos heads d_head"]) -> Float[Tensor, "heads batch pos d_model"]:
    """Return what each head of a layer adds to the residual stream, given its scaled ``z``."""
    return torch.einsum("bphe,hed->hbpd", z, output_weight(layer).to(z.dtype))


def writer_adds(model: ResidualModel, writers: Writers, row: int) -> Float[Tensor, "batch pos d_model"]:
    """Return what one writer, given by its row in the graph, adds to the residual stream."""
    kind, index, head = model.graph.writer(row)
    if kind == "input":
        return writers.embed
    if kind == "mlp":
        return writers.mlp[index]
    z = writers.z[index][:, :, head]
    return z @ output_weight(model.layers[index])[head].to(z.dtype)


def all_add(model: ResidualModel, writers: Writers, part: slice) -> Float[Tensor, "sources batch part d_model"]:
    """Return what every writer adds to the residual stream at some of the positions."""
    graph, embed = model.graph, writers.embed[:, part]
    added = embed.new_empty(len(graph.sources), *embed.shape)
    added[0] = embed
    for index, layer in enumerate(model.layers):
        head, mlp = graph.head_row(index), graph.mlp_row(index)
        added[head:mlp] = heads_add(layer, writers.z[index][:, part])
        if graph.has_mlp:
            added[mlp] = writers.mlp[index][:, part]
    return added
