"""Which columns of a fused projection are which heads' q, k and v, asked of the adapter that knows how to split it."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from eap_plugin.backend.effective_weight import innermost


class NotHeadsError(Exception):
    """A split that is not into whole heads."""


def fused_heads(component: Any, attention: nn.Module, d_head: int) -> dict[str, tuple[int, ...]]:
    """For q, k and v, the pieces of width ``d_head`` of the fused projection's output that are their heads.

    The adapter's own function splits a stand-in, each of whose columns holds its own number.

    Args:
        component: the adapter's component for the attention module, with a part ``qkv``.
        attention: the attention module; only the shape of its weight is read.
        d_head: the width of a head.

    Raises:
        NotHeadsError: if the function fails, or heads are not such pieces.
    """
    name = component.submodules["qkv"].name
    fused = innermost(attention.get_submodule(name))
    stand_in = copy.copy(attention)
    stand_in._modules = {**attention._modules, name: _numbered(fused)}
    try:
        with torch.device("meta"):  # the layers it makes need no memory and draw no random numbers
            parts = component.split_qkv_matrix(stand_in)
    except (AssertionError, AttributeError, NotImplementedError, RuntimeError, ValueError) as error:
        raise NotHeadsError(f"its fused projection {name} cannot be split: {error}") from error
    return {slot: _heads(part.weight, d_head) for slot, part in zip(("q", "k", "v"), parts, strict=True)}


def split_gate(component: Any, mlp: nn.Module) -> tuple[tuple[int, int], tuple[int, int]]:
    """The columns of the gate and of the linear factor in a projection that gives both, first and one past the last.

    Args:
        component: the adapter's component for the MLP, which can split the projection.
        mlp: the MLP; only the shape of its weight is read.
    """
    name = component.fused_attr
    stand_in = copy.copy(mlp)
    stand_in._modules = {**mlp._modules, name: _numbered(innermost(mlp.get_submodule(name)))}
    gate, linear = (part.weight[:, 0].long() for part in component.split_gate_up_matrix(stand_in))
    return (int(gate[0]), int(gate[-1]) + 1), (int(linear[0]), int(linear[-1]) + 1)


def n_columns(linear: nn.Module) -> int:
    """How many columns a projection gives, ``Linear`` or ``Conv1D``, adapted or not."""
    bare = innermost(linear)
    rows, columns = bare.weight.shape
    return int(rows if isinstance(bare, nn.Linear) else columns)


def _numbered(fused: nn.Module) -> nn.Module:
    """A copy whose weight and bias hold the number of the column that they are for."""
    weight: Tensor = fused.weight  # type: ignore[assignment]
    numbers = torch.arange(n_columns(fused), dtype=torch.float64)
    columns = numbers[:, None] if isinstance(fused, nn.Linear) else numbers
    copied = copy.copy(fused)
    copied._parameters = {"weight": nn.Parameter(columns.expand(weight.shape)), "bias": nn.Parameter(numbers)}
    return copied


def _heads(weight: Tensor, d_head: int) -> tuple[int, ...]:
    """The heads in a split-off part, from the numbers of its columns."""
    columns = weight[:, 0].long()
    if len(columns) % d_head == 0:
        heads = columns.view(-1, d_head)
        firsts = heads[:, :1]
        if bool((heads == firsts + torch.arange(d_head)).all()) and not bool((firsts % d_head).any()):
            return tuple((firsts[:, 0] // d_head).tolist())
    raise NotHeadsError(f"its fused projection is not split into whole heads of width {d_head}")
