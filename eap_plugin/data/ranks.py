"""Ranks of numbers."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def mean_ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return the rank of each number, 1 for the smallest; equal numbers share the mean of their ranks. In float64."""
    ordered = values.sort().values
    below, up_to = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + 1 + up_to).double() / 2
