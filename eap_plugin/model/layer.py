"""The weights of a block, in the same shapes for every library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from eap_plugin.model.norm import Norm


@dataclass(frozen=True)
class Layer:
    """A block's projections and norms, in TransformerLens' shapes; views of the model's own weights.

    ``None`` stands for a bias or norm that the block does not have. If a block scales attention's output before
    adding it to the residual stream, W_O and b_O include that factor.

    Attributes:
        clip_qkv: the bound to which q, k and v are clipped after their projections; ``None`` if they are not clipped.
    """

    W_Q: Float[Tensor, "heads d_model d_head"]
    W_K: Float[Tensor, "kv_heads d_model d_head"]
    W_V: Float[Tensor, "kv_heads d_model d_head"]
    W_O: Float[Tensor, "heads d_head d_model"]
    b_Q: Float[Tensor, "heads d_head"] | None
    b_K: Float[Tensor, "kv_heads d_head"] | None
    b_V: Float[Tensor, "kv_heads d_head"] | None
    b_O: Float[Tensor, "d_model"] | None
    attn_norm: Norm | None
    mlp_norm: Norm | None
    attn_post_norm: Norm | None = None
    mlp_post_norm: Norm | None = None
    clip_qkv: float | None = None

    def project(
        self, slot: Literal["q", "k", "v"]
    ) -> tuple[Float[Tensor, "heads d_model d_head"], Float[Tensor, "heads d_head"] | None]:
        """Return the weight and bias of the q, k or v projection."""
        return {"q": (self.W_Q, self.b_Q), "k": (self.W_K, self.b_K), "v": (self.W_V, self.b_V)}[slot]


def scaled(
    weight: Float[Tensor, "d_in d_out"], bias: Float[Tensor, "d_out"] | None, factor: float
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """Scale a projection's weight and bias by a factor; return them unchanged, not copied, if it is 1."""
    return (weight, bias) if factor == 1 else (weight * factor, None if bias is None else bias * factor)
