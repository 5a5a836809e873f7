"""What a layout says, and the ways in which projections hold heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.support.zoo import N_HEADS, N_KV_HEADS


@dataclass(frozen=True)
class Slot:
    """One head's part of a projection's output: ``output.unflatten(-1, shape)[..., *index, :]``."""

    path: str
    shape: tuple[int, ...]
    index: tuple[int, ...]

    def part(self, output: Tensor) -> Tensor:
        """Return the head's part, [batch, pos, d_head], as a view of the whole output."""
        part = torch.unflatten(output, -1, (*self.shape, -1))
        for index in self.index:
            part = part.select(output.ndim - 1, index)
        return part


Heads = dict[str, tuple[Slot, ...]]
"""For q, k and v, where each head is."""


@dataclass(frozen=True)
class Layout:
    """Paths of modules, in the model for ``layers`` and ``final_norm``, else in a layer; "" for none.

    Attributes:
        layers: the list of layers; a layer's first argument is the residual stream that q, k and v read.
        final_norm: the norm before the logits.
        heads: for q, k and v, where each head is; k and v have the real key/value heads.
        o: the output projection; its input is all heads' z side by side, [batch, pos, heads * d_head].
        attn_norm, mlp_norm: the norm before the projections and before the MLP (one module for both in some).
        mlp_in: the module whose input is what the MLP reads, after the norm.
        mlp_out: the module whose output is what the MLP writes, before any ``mlp_post_norm``.
        attn_post_norm, mlp_post_norm: the norm between the block's output and the residual stream.
        parallel: whether the MLP reads what the attention reads, without this layer's heads.
        residual_multiplier: what every block's output is multiplied by before it is added to the residual stream.
    """

    layers: str
    final_norm: str
    heads: Heads
    o: str
    attn_norm: str
    mlp_norm: str
    mlp_in: str = "mlp"
    mlp_out: str = "mlp"
    attn_post_norm: str = ""
    mlp_post_norm: str = ""
    parallel: bool = False
    residual_multiplier: float = 1.0

    def part(self, model: nn.Module, layer: int, path: str) -> nn.Module:
        """Return the module at ``path`` in one layer; ``Identity`` if there is none."""
        return model.get_submodule(f"{self.layers}.{layer}.{path}") if path else nn.Identity()


def separate(attention: str, n_kv_heads: int) -> Heads:
    """Lay out three projections, each with one head after another."""
    counts = {"q": N_HEADS, "k": n_kv_heads, "v": n_kv_heads}
    return {kind: tuple(Slot(f"{attention}.{kind}_proj", (n,), (h,)) for h in range(n)) for kind, n in counts.items()}


def fused(path: str, shape: tuple[int, ...], **places: Sequence[tuple[int, ...]]) -> Heads:
    """Lay out one projection for q, k and v, in which the heads have these places."""
    return {kind: tuple(Slot(path, shape, place) for place in places[kind]) for kind in "qkv"}


def one_after_another(path: str, n_kv_heads: int = N_HEADS) -> Heads:
    """Lay out a fused projection as every head's q, then every head's k, then every head's v."""
    n = N_HEADS + 2 * n_kv_heads
    places = [(i,) for i in range(n)]
    return fused(path, (n,), q=places[:N_HEADS], k=places[N_HEADS:-n_kv_heads], v=places[-n_kv_heads:])


def head_by_head(path: str) -> Heads:
    """Lay out a fused projection as each head's q, k and v, then the next head's."""
    q, k, v = ([(h, i) for h in range(N_HEADS)] for i in range(3))
    return fused(path, (N_HEADS, 3), q=q, k=k, v=v)


def group_by_group(path: str) -> Heads:
    """Lay out a fused projection as the query heads, k and v of each key/value head, one head after another."""
    group = N_HEADS // N_KV_HEADS
    return fused(
        path,
        (N_KV_HEADS, group + 2),
        q=[divmod(h, group) for h in range(N_HEADS)],
        k=[(g, group) for g in range(N_KV_HEADS)],
        v=[(g, group + 1) for g in range(N_KV_HEADS)],
    )
