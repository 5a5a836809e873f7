"""The backward half of the self-check: does anything read the residual stream that the graph does not know?

The gradient that arrives at the residual stream in front of a reader must be the gradient behind it (the skip path),
plus what the graph's readers there send back: the vector-Jacobian product of their norm and projection. What is missing
from that sum went through something else, such as a gate beside the heads that reads the residual stream for itself.
Edge scores would leave out its effect, although every value in the forward pass is as it should be.

Where a writer adds to the residual stream, the gradient on what it adds is the gradient on the stream behind it. So one
backward pass, of any number that depends on all logits, tells for all layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.model.layer import Layer
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site


class Arrival(NamedTuple):
    """The gradient at one place of the residual stream.

    Attributes:
        layer: the layer that reads there; for the logits, the last one.
        reader: what reads there: ``attention``, ``the MLP``, ``the block`` (both, if parallel) or ``the logits``.
        explained: the sum of the skip path and of what the graph's readers send back.
        found: the gradient that arrives.
    """

    layer: int
    reader: str
    explained: Float[Tensor, "tokens d_model"]
    found: Float[Tensor, "tokens d_model"]


def gradient_sites(model: ResidualModel) -> list[Site]:
    """The sites whose gradients ``arrivals`` needs."""
    sites: list[Site] = ["embed", "q", "k", "v", "attn_out", "final"]
    return [*sites, "mlp", "mlp_out"] if model.graph.has_mlp else sites


def random_loss(logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, ""]:
    """Return a number that depends on every logit, each with a random weight that is always the same."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    return (logits * weights.to(logits)).sum()


def arrivals(
    model: ResidualModel, seen: Mapping[tuple[Site, int], Tensor], gradients: Mapping[tuple[Site, int], Tensor]
) -> Iterator[Arrival]:
    """Compare the gradient at every place of the residual stream with the sum of what is known to send it back.

    Args:
        model: the model.
        seen: the values at ``attn_in`` and ``mlp_in`` of each layer, [..., d_model].
        gradients: the gradient on each of ``gradient_sites``, of the same tokens.
    """
    before = gradients["embed", 0]
    has_mlp, parallel = model.graph.has_mlp, model.graph.parallel
    for index, layer in enumerate(model.layers):
        after_attention = gradients["attn_out", index]
        from_attention = _through_attention(layer, seen["attn_in", index], gradients, index)
        if not has_mlp:
            yield Arrival(index, "attention", after_attention + from_attention, before)
            before = after_attention
            continue
        from_mlp = _through_norm(layer.mlp_norm, seen["mlp_in", index], gradients["mlp", index])
        if parallel:
            yield Arrival(index, "the block", after_attention + from_attention + from_mlp, before)
        else:
            yield Arrival(index, "attention", after_attention + from_attention, before)
            yield Arrival(index, "the MLP", gradients["mlp_out", index] + from_mlp, after_attention)
        before = gradients["mlp_out", index]
    last = model.graph.n_layers - 1
    yield Arrival(last, "the logits", gradients["final", last], before)


def _through_attention(
    layer: Layer,
    read: Float[Tensor, "tokens d_model"],
    gradients: Mapping[tuple[Site, int], Tensor],
    index: int,
) -> Float[Tensor, "tokens d_model"]:
    """The gradient that all q, k and v readers of a layer send back to the residual stream."""
    total = torch.zeros_like(read)
    for slot in ("q", "k", "v"):
        W, _ = layer.project(slot)
        total = total + torch.einsum("...he,hde->...d", gradients[slot, index], W.to(total.dtype))
    return _through_norm(layer.attn_norm, read, total)


def _through_norm(
    norm: Norm | None, read: Float[Tensor, "tokens d_model"], gradient: Float[Tensor, "tokens d_model"]
) -> Float[Tensor, "tokens d_model"]:
    return gradient if norm is None else norm.vjp(norm.stats(read), gradient)
