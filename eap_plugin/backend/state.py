"""A PyTorch module's flags, changed for a run and put back whatever happens."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def frozen_modules(*roots: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradient for any parameter, until left; then each flag as it was.

    A parameter's ``grad`` is not touched.
    """
    modules = {id(m): m for root in roots for m in nn.Module.modules(root)}.values()
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
