"""What single readers make of a residual stream, as formulas."""

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
    """The projections of some heads, each of which reads a residual stream of its own."""
    W, b = layer.project(slot)
    read = torch.einsum("rbpd,rde->rbpe", normed(layer.attn_norm, x).to(W.dtype), W[heads])
    return read if b is None else read + b[heads][:, None, None]
