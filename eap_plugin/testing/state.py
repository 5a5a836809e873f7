"""A check that a model's modules are left unchanged: hooks, modes, flags, weights and gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from eap_plugin.model.module_state import ModuleState
from eap_plugin.model.residual_model import ResidualModel


@contextmanager
def left_as_found(model: ResidualModel) -> Iterator[None]:
    """Put a model in an unusual state, which a careless restore would lose, and check on leaving that it is kept."""
    roots = list(model.modules())
    original = ModuleState(roots)
    modules = list(nn.Module.modules(roots[-1]))
    parameters = list(nn.Module.parameters(roots[-1]))
    modules[0].train()
    modules[-1].eval()
    parameters[0].requires_grad_(False)
    parameters[-1].requires_grad_(True)
    handle = modules[-1].register_forward_hook(lambda module, args, output: None)
    weights = [p.detach().clone() for p in parameters]
    state, grad_mode = ModuleState(roots), torch.is_grad_enabled()
    try:
        yield
        assert state.restore() == [], "hooks, modes or flags were left changed"
        assert torch.is_grad_enabled() == grad_mode, "the gradient mode was left changed"
        for before, after in zip(weights, parameters, strict=True):
            assert torch.equal(before, after), "a weight was changed"
            assert after.grad is None, "a gradient was left on a weight"
    finally:
        handle.remove()
        original.restore()
