"""Layer norms and RMS norms as formulas: their output, their linear action with frozen scale, and their gradient.

A norm is y = weight · x̂ + bias with x̂ = (x − mean(x)) · s for a layer norm and x̂ = x · s for an RMS norm, where
s = 1/sqrt(mean of the squares + eps). Its vector-Jacobian product at x is (Ba et al. 2016, differentiated)

    vjp(g) = h − x̂ · mean(h · x̂),    h = s · (weight · g, minus its mean for a layer norm).

With s held fixed, it is h alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import layer_norm


class Stats(NamedTuple):
    """The normalized input x̂ of a norm, and its scale s."""

    x_hat: Float[Tensor, "*shape d_model"]
    scale: Float[Tensor, "*shape 1"]


@dataclass(frozen=True)
class Norm:
    """A layer norm (``centred``) or RMS norm over the last dimension.

    Attributes:
        weight: the gain; ``None`` for ones.
        bias: the offset; ``None`` for zeros.
        eps: the number added to the mean of the squares.
        centred: whether the mean is subtracted first.
    """

    weight: Float[Tensor, "d_model"] | None
    bias: Float[Tensor, "d_model"] | None
    eps: float
    centred: bool

    def stats(self, x: Float[Tensor, "*shape d_model"]) -> Stats:
        """Compute x̂ and s at ``x``, in at least float32."""
        x = self.centre(x.to(torch.promote_types(x.dtype, torch.float32)))
        scale = (x.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt()
        return Stats(x * scale, scale)

    def apply(self, x: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Compute the norm's output, in at least float32."""
        if self.centred:
            x = x.to(torch.promote_types(x.dtype, torch.float32))
            weight, bias = (None if part is None else part.to(x.dtype) for part in (self.weight, self.bias))
            return layer_norm(x, x.shape[-1:], weight, bias, self.eps)
        y = self.gain(self.stats(x).x_hat)
        return y if self.bias is None else y + self.bias

    def linear(
        self, x: Float[Tensor, "*shape d_model"], scale: Float[Tensor, "*shape 1"]
    ) -> Float[Tensor, "*shape d_model"]:
        """Compute what a summand ``x`` of the norm's input adds to its output, given the whole input's ``scale``."""
        return self.gain(self.centre(x) * scale)

    def centre(self, x: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Subtract the mean, if this is a layer norm."""
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def gain(self, x: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Multiply by the weight."""
        return x if self.weight is None else x * self.weight

    def linear_vjp(
        self, scale: Float[Tensor, "*shape 1"], g: Float[Tensor, "*shape d_model"]
    ) -> Float[Tensor, "*shape d_model"]:
        """Return the gradient on the input of ``linear``, given the gradient ``g`` on its output."""
        return self.centre(self.gain(g)) * scale

    def vjp(self, stats: Stats, g: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
        """Return the gradient on the norm's input, given the gradient ``g`` on its output."""
        h = self.linear_vjp(stats.scale, g)
        return h - stats.x_hat * (h * stats.x_hat).mean(-1, keepdim=True)


def normed(norm: Norm | None, x: Float[Tensor, "*shape d_model"]) -> Float[Tensor, "*shape d_model"]:
    """Apply a norm; return ``x`` itself if there is none."""
    return x if norm is None else norm.apply(x)
