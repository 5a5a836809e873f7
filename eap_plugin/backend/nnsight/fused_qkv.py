"""Which output columns of a fused projection belong to which head's q, k and v.

TransformerLens' adapters can split a fused projection into three but do not say which columns go where. So they are
given a copy whose weight holds, in each column, the number of that column. The numbers in the three parts then tell
which columns they came from.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from eap_plugin.backend.effective_weight import innermost


class NotHeadsError(Exception):
    """A fused projection that cannot be split into whole heads."""


def fused_heads(component: Any, attention: nn.Module, d_head: int) -> dict[str, tuple[int, ...]]:
    """Find, for q, k and v, which slices of width ``d_head`` of the fused projection's output are their heads.

    Args:
        component: the adapter's component for the attention module, with a subcomponent ``qkv``.
        attention: the attention module; only the shape of its weight is used.
        d_head: the width of a head.

    Raises:
        NotHeadsError: if the adapter cannot split the projection, or not into whole heads.
    """
    name = component.submodules["qkv"].name
    fused = innermost(attention.get_submodule(name))
    stand_in = copy.copy(attention)
    stand_in._modules = {**attention._modules, name: _numbered(fused)}
    try:
        with torch.device("meta"):  # the layers that it creates need no memory and draw no random numbers
            parts = component.split_qkv_matrix(stand_in)
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise NotHeadsError(f"its fused projection {name} cannot be split: {error}") from error
    return {slot: _heads(part.weight, d_head) for slot, part in zip(("q", "k", "v"), parts, strict=True)}


def split_gate(component: Any, mlp: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
    """Find the columns, as (start, stop), of the gate and of the linear factor in a projection that computes both.

    Args:
        component: the adapter's component for the MLP, which can split the projection.
        mlp: the MLP; only the shape of its weight is used.
    """
    name = component.fused_attr
    stand_in = copy.copy(mlp)
    stand_in._modules = {**mlp._modules, name: _numbered(innermost(mlp.get_submodule(name)))}
    gate, linear = (part.weight[:, 0].long() for part in component.split_gate_up_matrix(stand_in))
    return (int(gate[0]), int(gate[-1]) + 1), (int(linear[0]), int(linear[-1]) + 1)


def n_columns(linear: nn.Module) -> int:
    """Return the output width of a ``Linear`` or ``Conv1D``, with or without adapters around it."""
    bare = innermost(linear)
    rows, columns = bare.weight.shape
    return int(rows if isinstance(bare, nn.Linear) else columns)


def _numbered(fused: nn.Module) -> nn.Module:
    """Copy a projection, with the number of each output column in place of its weights and bias."""
    weight: Tensor = fused.weight  # type: ignore[assignment]
    numbers = torch.arange(n_columns(fused), dtype=torch.float64)
    columns = numbers[:, None] if isinstance(fused, nn.Linear) else numbers
    copied = copy.copy(fused)
    copied._parameters = {"weight": nn.Parameter(columns.expand(weight.shape)), "bias": nn.Parameter(numbers)}
    return copied


def _heads(weight: Tensor, d_head: int) -> tuple[int, ...]:
    """Read the heads in a part of the numbered projection from its column numbers."""
    columns = weight[:, 0].long()
    if len(columns) % d_head == 0:
        heads = columns.view(-1, d_head)
        firsts = heads[:, :1]
        if bool((heads == firsts + torch.arange(d_head)).all()) and not bool((firsts % d_head).any()):
            return tuple((firsts[:, 0] // d_head).tolist())
    raise NotHeadsError(f"its fused projection is not split into whole heads of width {d_head}")
