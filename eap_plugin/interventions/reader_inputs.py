"""Queries, keys and values of single heads, computed from a given residual stream by norm and projection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.model.layer import Layer
from eap_plugin.model.norm import normed


def heads_read(
    layer: Layer,
    slot: Literal["q", "k", "v"],
    x: Float[Tensor, "readers batch pos d_model"],
    heads: Sequence[int] | slice,
) -> Float[Tensor, "readers batch pos d_head"]:
    """Apply the projections of some heads, each to its own copy of the residual stream.

    Args:
        layer: the layer of the heads.
        slot: the projection: query, key or value.
        x: the residual stream before attention's norm, one for each head; or one, broadcast over all heads.
        heads: the heads, by index.
    """
    W, b = layer.project(slot)
    read = torch.einsum("rbpd,rde->rbpe", normed(layer.attn_norm, x).to(W.dtype), W[heads])
    return read if b is None else read + b[heads][:, None, None]
