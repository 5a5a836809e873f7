"""Gated MLPs whose gate and linear factor come from one projection: which columns are which."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

from torch import Tensor, nn

_GATE_FIRST = ("ModernBertDecoderMLP",)
"""Classes that activate the first half of their projection's output and multiply it by the second."""


class HiddenFrom(NamedTuple):
    """How an MLP's hidden layer comes from its input projection.

    Attributes:
        seen: whether its parts are known; if not, no rule for its product or activation can be applied.
        gate: the columns of the gate in the projection's output, first and one past the last; empty if it has none.
        linear: those of the other factor.
    """

    seen: bool
    gate: tuple[int, int] | tuple[()] = ()
    linear: tuple[int, int] | tuple[()] = ()


def hidden_from(mlp: nn.Module, projection: nn.Module, output: nn.Module, known: Collection[nn.Module]) -> HiddenFrom:
    """How the hidden layer comes about, from the shapes of the weights.

    Args:
        mlp: the module that holds the projections.
        projection: the input projection.
        output: the output projection.
        known: the projections that have a site; one beside them would multiply or add what no site shows.
    """
    if any(True for _ in _unknown(mlp, known)):
        return HiddenFrom(seen=False)
    given, taken = _sizes(projection)[1], _sizes(output)[0]
    if given == taken:
        return HiddenFrom(seen=True)
    if given == 2 * taken and type(mlp).__name__ in _GATE_FIRST:
        return HiddenFrom(True, gate=(0, taken), linear=(taken, given))
    return HiddenFrom(seen=False)


def _unknown(module: nn.Module, known: Collection[nn.Module]) -> Iterator[nn.Module]:
    """The modules with a matrix that are not in ``known`` or below one that is."""
    for child in module.children():
        if not any(child is part for part in known):
            weight = child._parameters.get("weight")
            if weight is not None and weight.ndim > 1:
                yield child
            yield from _unknown(child, known)


def _sizes(linear: nn.Module) -> tuple[int, int]:
    """How many columns a projection takes and gives, ``Linear`` or ``Conv1D``."""
    weight: Tensor = linear.weight  # type: ignore[assignment]
    first, second = weight.shape
    return (second, first) if isinstance(linear, nn.Linear) else (first, second)
