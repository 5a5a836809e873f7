"""The backward half of the self-check: does anything read the residual stream that is not in the graph?

1. The gradient on the residual stream before a reader must be the gradient after it (along the skip connection), plus
   the gradients through the readers there: the vector-Jacobian products of their norm and projection.
2. If the model's gradient differs from this sum, something else reads the residual stream, such as a gate next to the
   heads. Edge scores would leave out its effect, although all values of the forward pass are right.
3. The gradient on a writer's output is the gradient on the residual stream after it. So the gradients at all places
   come from one backward pass, of any number that depends on all logits.
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
        layer: the layer of the reader; for the logits, the last one.
        reader: the reader there: ``attention``, ``the MLP``, ``the block`` (both, if parallel) or ``the logits``.
        explained: the sum of the gradients along the skip connection and through the graph's readers.
        found: the model's own gradient.
    """

    layer: int
    reader: str
    explained: Float[Tensor, "tokens d_model"]
    found: Float[Tensor, "tokens d_model"]


def gradient_sites(model: ResidualModel) -> list[Site]:
    """List the sites whose gradients ``arrivals`` needs."""
    sites: list[Site] = ["embed", "q", "k", "v", "attn_out", "final"]
    return [*sites, "mlp", "mlp_out"] if model.graph.has_mlp else sites


def random_loss(logits: Float[Tensor, "batch vocab"]) -> Float[Tensor, ""]:
    """Return a weighted sum of all logits, with random weights that are the same in every call."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(0))
    return (logits * weights.to(logits)).sum()


def arrivals(
    model: ResidualModel, seen: Mapping[tuple[Site, int], Tensor], gradients: Mapping[tuple[Site, int], Tensor]
) -> Iterator[Arrival]:
    """Yield the gradient at every place of the residual stream, with the sum of gradients that explains it.

    Args:
        model: the model.
        seen: the values at ``attn_in`` and ``mlp_in`` of each layer, [..., d_model].
        gradients: the gradient at each of ``gradient_sites``, for the same tokens.
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
    """Compute the gradient on the residual stream through all q, k and v readers of a layer."""
    total = torch.zeros_like(read)
    for slot in ("q", "k", "v"):
        W, _ = layer.project(slot)
        heads = gradients[slot, index].movedim(-2, 0)
        total = total + (heads @ W.to(total.dtype).mT[:, None]).sum(0)
    return _through_norm(layer.attn_norm, read, total)


def _through_norm(
    norm: Norm | None, read: Float[Tensor, "tokens d_model"], gradient: Float[Tensor, "tokens d_model"]
) -> Float[Tensor, "tokens d_model"]:
    return gradient if norm is None else norm.vjp(norm.stats(read), gradient)
