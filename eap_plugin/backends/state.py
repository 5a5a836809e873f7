"""Hooks and flags of PyTorch modules, put on for a run and taken off whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from eap_plugin.residual import Site, Visitor


@contextmanager
def frozen_module(module: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradient for any parameter, until left; then each flag as it was.

    A parameter's ``grad`` is not touched.
    """
    modules = list(nn.Module.modules(module))
    parameters = [p for m in modules for p in m._parameters.values() if p is not None and p.requires_grad]
    training = [m for m in modules if m.training]
    try:
        for p in parameters:
            p.requires_grad_(False)
        for m in training:
            m.training = False
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
        for m in training:
            m.training = True


@contextmanager
def visiting(
    hook_points: Callable[[Site], Iterable[tuple[int, Any]]],
    visit: Mapping[Site, Visitor],
    unembed: nn.Module,
    last: Int[Tensor, "batch"] | None,
) -> Iterator[None]:
    """Call visitors at TransformerLens hook points, and unembed only the positions ``last``.

    Hooks that others have put on the model stay and see what they would see.

    Args:
        hook_points: the layers and hook points of a site.
        visit: the visitor of each site of interest.
        unembed: the module that turns the final residual stream into logits.
        last: the position of each prompt whose logits are wanted; the last one if not given.
    """

    def keep_last(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        x = args[0]
        kept = x[:, -1] if last is None else x[torch.arange(len(x), device=x.device), last]
        return kept[None], *args[1:]  # one row of prompts: a single matrix product, not one per prompt

    with ExitStack() as stack:
        stack.callback(unembed.register_forward_pre_hook(keep_last).remove)
        for site, visitor in visit.items():
            for layer, point in hook_points(site):
                point.add_hook(_hook(visitor, layer))
                stack.callback(_forget, point, point.fwd_hooks[-1])
        yield


def _hook(visitor: Visitor, layer: int) -> Callable[..., Tensor]:
    def hook(value: Tensor, hook: Any) -> Tensor:
        # An alias of its own, and handed back even when unchanged: only so is the value that the visitor saw the one
        # the model goes on with, and its gradient that of this site alone where two sites share a tensor.
        value = value.view_as(value)
        new = visitor(layer, value)
        return value if new is None else new

    return hook


def _forget(point: Any, handle: Any) -> None:
    handle.hook.remove()
    if handle in point.fwd_hooks:
        point.fwd_hooks.remove(handle)
