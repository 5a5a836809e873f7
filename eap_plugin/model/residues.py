"""Differences between two computations of the same values, relative to the size of the values."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def residues(
    said: Float[Tensor, "*shape width"], found: Float[Tensor, "*shape width"]
) -> Float[Tensor, "*shape width"]:
    """Return the differences, relative to the numbers' sizes and the root mean square of ``found`` over the width."""
    size = found.pow(2).mean(-1, keepdim=True).sqrt() + said.abs() + found.abs()
    return (said - found).abs() / size.clamp_min(torch.finfo(found.dtype).tiny)
