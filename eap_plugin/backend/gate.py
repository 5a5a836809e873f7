"""The hidden layer of an MLP: whether we know all of its parts, and which columns hold a gated MLP's two factors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from torch import Tensor, nn

from eap_plugin.backend.effective_weight import innermost
from eap_plugin.model.sites import Site

_GATE_FIRST = ("ModernBertDecoderMLP",)
"""Classes that activate the first half of their input projection's output and multiply it by the second half."""


class Hidden(NamedTuple):
    """The structure of an MLP's hidden layer.

    Attributes:
        seen: whether all of its parts are known; if not, no rule for its product or activation can be applied.
        gated: whether it is the product of an activated gate and a linear factor.
        gate: if one input projection computes both factors, the gate's columns of its output, as (start, stop).
        linear: likewise, the columns of the linear factor.
    """

    seen: bool
    gated: bool = False
    gate: tuple[int, int] | None = None
    linear: tuple[int, int] | None = None

    def columns(self, site: Site) -> tuple[int, int] | None:
        """Return the columns of the input projection's output that form a site; ``None`` if the site is all of it."""
        return {"mlp_gate": self.gate, "mlp_pre": self.linear}.get(site)


def hidden_layer(parts: Mapping[str, nn.Module], mlp: nn.Module | None) -> Hidden:
    """Infer the structure of a hidden layer from the shapes of the weights.

    Args:
        parts: the projections by their names in TransformerLens: ``in``, ``out`` and, of a gated MLP, ``gate``.
        mlp: the module that contains only these projections, if there is one. If it contains another weight matrix,
            the hidden layer has a factor or summand that no site exposes, so it counts as not seen.
    """
    if mlp is not None and any(True for _ in _others(mlp, parts.values())):
        return Hidden(seen=False)
    given, taken = _sizes(parts["in"])[1], _sizes(parts["out"])[0]
    if given == taken:
        return Hidden(seen=True, gated="gate" in parts)
    if given == 2 * taken and type(mlp).__name__ in _GATE_FIRST:
        return Hidden(seen=True, gated=True, gate=(0, taken), linear=(taken, given))
    return Hidden(seen=False)


def _others(module: nn.Module, known: Iterable[nn.Module]) -> Iterator[nn.Module]:
    """Yield the submodules with a weight matrix that are neither known nor inside a known module."""
    for child in module.children():
        if not any(child is part or getattr(child, "original_component", None) is part for part in known):
            weight = child._parameters.get("weight")
            if weight is not None and weight.ndim > 1:
                yield child
            yield from _others(child, known)


def _sizes(linear: nn.Module) -> tuple[int, int]:
    """Return the input and output width of a ``Linear`` or ``Conv1D``, with or without adapters around it."""
    bare = innermost(linear)
    weight: Tensor = bare.weight
    first, second = weight.shape
    return (second, first) if isinstance(bare, nn.Linear) else (first, second)
