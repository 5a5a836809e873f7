"""Hard concrete gates (Louizos et al. 2018, arXiv 1712.01312): random variables in [0, 1], often exactly 0 or 1.

    s = σ((log u − log(1 − u) + log α) / β)        gate = clamp(s (ζ − γ) + γ, 0, 1)        u uniform in (0, 1)

A gate is open, that is above 0, with probability σ(log α − β log(−γ/ζ)).
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

BETA, GAMMA, ZETA = 2 / 3, -0.1, 1.1
START = math.log(5)
"""The initial log α, for which a gate with u = 1/2 is 0.9."""

_SHIFT = BETA * math.log(-GAMMA / ZETA)


def gates(log_alpha: Float[Tensor, "n"], uniform: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
    """Return gates for uniform random numbers, and their derivatives with respect to log α."""
    s = torch.sigmoid((torch.logit(uniform) + log_alpha) / BETA)
    stretched = s * (ZETA - GAMMA) + GAMMA
    inside = (stretched > 0) & (stretched < 1)
    return stretched.clamp(0, 1), inside * (ZETA - GAMMA) * s * (1 - s) / BETA


def open_probability(log_alpha: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Return the probability p that a gate is open; its derivative with respect to log α is p (1 − p)."""
    return torch.sigmoid(log_alpha - _SHIFT)
