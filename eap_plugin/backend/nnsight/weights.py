"""Reading the weights of a block, in TransformerLens' shapes, from the modules that a plan names."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from eap_plugin.backend.effective_weight import effective_weight
from eap_plugin.backend.hf_norm import norm_of
from eap_plugin.backend.nnsight.plan import LayerPlan, NormPlace, Projection
from eap_plugin.model.layer import Layer, scaled
from eap_plugin.model.norm import Norm


def read_layer(model: Any, plan: LayerPlan, d_head: int) -> Layer:
    """Read a block's projections and norms: as views, if the heads of a fused projection are evenly spaced."""

    def weight_and_bias(where: Projection) -> tuple[Tensor, Tensor | None]:
        return effective_weight(model.get_submodule(where.path), where.path)

    def heads_in(where: Projection) -> tuple[Tensor, Tensor | None]:
        weight, bias = weight_and_bias(where)
        pick = _head_index(where.heads)
        return (
            torch.unflatten(weight, 1, (-1, d_head)).transpose(0, 1)[pick],
            None if bias is None else torch.unflatten(bias, 0, (-1, d_head))[pick],
        )

    (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = heads_in(plan.q), heads_in(plan.k), heads_in(plan.v)
    W_O, b_O = scaled(*weight_and_bias(plan.o), plan.multiplier)
    return Layer(
        W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=torch.unflatten(W_O, 0, (-1, d_head)),
        b_Q=b_Q, b_K=b_K, b_V=b_V, b_O=b_O,
        attn_norm=read_norm(model, plan.attn_norm),
        mlp_norm=read_norm(model, plan.mlp_norm),
        attn_post_norm=read_norm(model, plan.attn_post_norm),
        mlp_post_norm=read_norm(model, plan.mlp_post_norm),
        clip_qkv=plan.clip_qkv,
    )  # fmt: skip


def read_norm(model: Any, place: NormPlace | None) -> Norm | None:
    """Read the norm at a place, if there is one."""
    return None if place is None else norm_of(place.form, model.get_submodule(place.path))


def _head_index(heads: tuple[int, ...]) -> slice | list[int]:
    """Return an index of the heads: a slice, which gives a view, if they are evenly spaced; otherwise a list."""
    step = heads[1] - heads[0] if len(heads) > 1 else 1
    if step > 0 and heads == tuple(range(heads[0], heads[-1] + 1, step)):
        return slice(heads[0], heads[-1] + 1, step)
    return list(heads)
