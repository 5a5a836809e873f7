"""The forward half of the self-check: do the formulas for writers and readers give what the model computes?

1. At attention, the MLP and the logits, the residual stream must be the sum of what was written to it before.
2. The norm and projection of the residual stream must give the model's own q, k, v and MLP inputs.
3. At a prompt's first token, attention can look at that token only. So each head's z there must be a multiple of the v
   of its key/value head; this checks that query heads and key/value heads are matched correctly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.interventions.writer_outputs import attention_output
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site


class Comparison(NamedTuple):
    """A value by the formula, and the same value as the model computes it.

    Attributes:
        layer: the layer.
        what: the name of the value.
        said: the value by the formula, [..., width].
        found: the model's own value.
    """

    layer: int
    what: str
    said: Float[Tensor, "*shape width"]
    found: Float[Tensor, "*shape width"]


def value_sites(model: ResidualModel) -> list[Site]:
    """List the sites whose values ``comparisons`` needs."""
    sites: list[Site] = ["embed", "attn_in", "q", "k", "v", "z", "final"]
    return [*sites, "mlp_in", "mlp", "mlp_out"] if model.graph.has_mlp else sites


def comparisons(
    model: ResidualModel, seen: Mapping[tuple[Site, int], Tensor], firsts: Mapping[tuple[Site, int], Tensor]
) -> Iterator[Comparison]:
    """Yield, layer by layer, each value by the formula and as the model computes it.

    Args:
        model: the model.
        seen: the values at ``value_sites`` at the real tokens of all prompts, [1, tokens, ...].
        firsts: the values from ``at_first_tokens``.
    """
    stream = seen["embed", 0]
    for index, layer in enumerate(model.layers):
        before = seen["attn_in", index]
        yield Comparison(index, "writers reaching attention", stream, before)
        x = normed(layer.attn_norm, before)
        for slot in ("q", "k", "v"):
            W, b = layer.project(slot)
            read = (x @ W.to(x.dtype)).transpose(0, 1)[None]
            yield Comparison(index, f"reader {slot}", read if b is None else read + b, seen[slot, index])
        if firsts:
            v, z = firsts["v", index], firsts["z", index]
            v = v if layer.clip_qkv is None else v.clamp(-layer.clip_qkv, layer.clip_qkv)
            yield Comparison(index, "heads of v", _along(_repeated(v, z), z), z)
        written = attention_output(layer, seen["z", index].to(layer.W_O.dtype)).to(stream.dtype)
        stream = before + normed(layer.attn_post_norm, written)
        if model.graph.has_mlp:
            read = seen["mlp_in", index]
            yield Comparison(index, "writers reaching the MLP", before if model.graph.parallel else stream, read)
            yield Comparison(index, "reader mlp", normed(layer.mlp_norm, read), seen["mlp", index])
            stream = (stream if model.graph.parallel else read) + seen["mlp_out", index]
    last = model.graph.n_layers - 1
    yield Comparison(last, "writers reaching the logits", stream, seen["final", last])


def at_first_tokens(
    model: ResidualModel, seen: Mapping[tuple[Site, int], Tensor], lengths: Int[Tensor, "batch"]
) -> dict[tuple[Site, int], Tensor]:
    """Return v and z of each layer at the first token of each prompt; none if the model puts cached tokens before it.

    Args:
        model: the model.
        seen: the values at the real tokens of all prompts, [1, tokens, ...].
        lengths: the number of real tokens of each prompt.
    """
    if model.run_constraints.n_prefix:
        return {}
    first = lengths.cumsum(0) - lengths
    return {place: value[:, first] for place, value in seen.items() if place[0] in ("v", "z")}


def _repeated(v: Float[Tensor, "1 batch kv_heads d_head"], z: Float[Tensor, "1 batch heads d_head"]) -> Tensor:
    """Repeat v so that each query head has the v of its key/value head."""
    return v.repeat_interleave(z.shape[2] // v.shape[2], dim=2)


def _along(v: Float[Tensor, "*shape d_head"], z: Float[Tensor, "*shape d_head"]) -> Float[Tensor, "*shape d_head"]:
    """Project ``z`` on ``v``; that is all of ``z`` if attention looks at one token only."""
    return v * ((z * v).sum(-1, keepdim=True) / v.pow(2).sum(-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny))
