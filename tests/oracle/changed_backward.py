"""Plain Hugging Face models with changed backward rules, made of autograd functions: nothing of the library is used.

Each rule is put where its paper's authors put it, which is not where the library puts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracle.layout import LAYOUTS, Layout

ACTIVATIONS = (
    "BloomGelu",
    "GELU",
    "GELUActivation",
    "GELUTanh",
    "NewGELUActivation",
    "ReLUSquaredActivation",
    "SiLU",
    "SiLUActivation",
    "XIELUActivation",
)
GATED = (("gate_proj", "up_proj"), ("gate_up_proj",), ("Wi",))
"""The linear layers of gated MLPs that give both factors, by their names."""


class Backward(torch.autograd.Function):
    """A value with a given backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pull = pull
        return value.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return ctx.pull(g), None, None


def wrapped(module: nn.Module, rule: Callable[[Tensor, Tensor], Callable[[Tensor], Tensor]]) -> None:
    """Give a module of one input the backward pass ``rule(input, output)``."""
    plain = module.forward

    def forward(x: Tensor) -> Tensor:
        with torch.no_grad():
            y = plain(x)
        return Backward.apply(x, y, rule(x.detach(), y))

    module.forward = forward


def freeze_norm(module: nn.Module) -> None:
    """Output and input differ by a factor for each element (and mean and bias, if the norm centres): it is constant."""
    bias = getattr(module, "bias", None)
    bias = 0.0 if bias is None else bias.detach()
    plain = module.forward

    def rule(x: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
        if not torch.allclose(plain(x + 1), y):
            return lambda g: g * (y / x)
        factor = (y - bias) / (x - x.mean(-1, keepdim=True))
        return lambda g: g * factor - (g * factor).mean(-1, keepdim=True)

    wrapped(module, rule)


def freeze_all_norms(model: Any, layout: Layout) -> None:
    """Freeze all norms of the residual stream, each once."""
    found = {id(model.get_submodule(layout.final_norm)): model.get_submodule(layout.final_norm)}
    for layer in range(len(model.get_submodule(layout.layers))):
        for path in (layout.attn_norm, layout.mlp_norm, layout.attn_post_norm, layout.mlp_post_norm):
            if path:
                found[id(layout.part(model, layer, path))] = layout.part(model, layer, path)
    for module in found.values():
        freeze_norm(module)


def scale_projections(model: Any, layout: Layout, scales: dict[str, float]) -> None:
    """Multiply the gradients on the outputs of the q, k and v projections."""
    for layer in range(len(model.get_submodule(layout.layers))):
        paths: dict[str, list[tuple[Any, float]]] = {}
        for kind, slots in layout.heads.items():
            for slot in slots:
                paths.setdefault(slot.path, []).append((slot, scales[kind]))
        for path, parts in paths.items():
            _scale_parts(layout.part(model, layer, path), parts)


def _scale_parts(module: nn.Module, parts: list[tuple[Any, float]]) -> None:
    plain = module.forward

    def forward(x: Tensor) -> Tensor:
        y = plain(x)
        scale = torch.zeros_like(y)
        for slot, number in parts:
            slot.part(scale).fill_(number)
        return Backward.apply(y, y.detach(), lambda g: g * scale)

    module.forward = forward


def scale_gates(model: Any, scale: float) -> None:
    """Multiply the gradients on both factors of a gated MLP."""
    for parent in model.modules():
        children = dict(parent.named_children())
        for names in GATED:
            for module in [children[name] for name in names if set(names) <= set(children)]:
                plain = module.forward
                module.forward = lambda x, plain=plain: Backward.apply(y := plain(x), y.detach(), lambda g: g * scale)


def identity_activations(model: Any, layout: Layout) -> int:
    """Treat the blocks' activations as their input times a constant, and return the number of activations."""
    layers = model.get_submodule(layout.layers)
    found = [module for module in layers.modules() if type(module).__name__ in ACTIVATIONS]
    for module in found:
        wrapped(module, lambda x, y: lambda g: g * (y / x))
    return len(found)


@contextmanager
def softmax_backward(jacobian: Callable[[Tensor, Tensor], Tensor]) -> Iterator[None]:
    """Give attention's softmax another backward pass, ``jacobian(scores, gradient)``, inside the context."""
    plain = nn.functional.softmax

    def softmax(x: Tensor, dim: int = -1, **kwargs: Any) -> Tensor:
        if x.ndim != 4:  # a router's, of a mixture of experts
            return plain(x, dim=dim, **kwargs)
        return Backward.apply(x, plain(x.detach(), dim=dim, **kwargs), lambda g: jacobian(x.detach(), g))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "softmax", softmax)
        yield


def at_temperature(temperature: float) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the softmax's Jacobian, written out, at scores divided by a temperature."""

    def jacobian(scores: Tensor, g: Tensor) -> Tensor:
        p = torch.softmax(scores / temperature, -1)
        return torch.einsum("...ij,...j->...i", torch.diag_embed(p) - p[..., :, None] * p[..., None, :], g)

    return jacobian


@contextmanager
def gim(
    model: Any, name: str, *, temperature: float = 2.0, freeze_norms: bool = True, halve_products: bool = True
) -> Iterator[None]:
    """Apply GIM as its authors' code does: q and k get a quarter of their gradient, v, gate and up a half."""
    layout = LAYOUTS[name]
    if freeze_norms:
        freeze_all_norms(model, layout)
    if halve_products:
        scale_projections(model, layout, {"q": 0.25, "k": 0.25, "v": 0.5})
        scale_gates(model, 0.5)
    with softmax_backward(at_temperature(temperature)):
        yield


@contextmanager
def relp(model: Any, name: str, constant_attention: bool) -> Iterator[None]:
    """Apply RelP as its authors' code does: LN, identity and half rules, and the AH rule on request."""
    freeze_all_norms(model, LAYOUTS[name])
    scale_gates(model, 0.5)
    assert (
        identity_activations(model, LAYOUTS[name]) or name == "opt"
    )  # whose ReLU is its input times a constant already
    with softmax_backward(lambda scores, g: torch.zeros_like(g)) if constant_attention else _nothing():
        yield


@contextmanager
def _nothing() -> Iterator[None]:
    yield
