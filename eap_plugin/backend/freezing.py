"""A PyTorch module's flags, changed for a run and put back whatever happens.

A class does it, not a generator: nnsight sends a function to a server without its decorators.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import nn


def frozen_modules(*roots: nn.Module) -> AbstractContextManager[None]:
    """Evaluation mode and no gradient for any parameter, within it; on leaving each flag is as it was.

    A parameter's ``grad`` is not touched.
    """
    modules = {id(m): m for root in roots for m in nn.Module.modules(root)}.values()
    parameters = [p for m in modules for p in m._parameters.values() if p is not None and p.requires_grad]
    return _Frozen(parameters, [m for m in modules if m.training])


class _Frozen(AbstractContextManager[None]):
    """Turns the flags of parameters and modules off, and on again."""

    def __init__(self, parameters: list[nn.Parameter], training: list[nn.Module]) -> None:
        self._parameters, self._training = parameters, training

    def __enter__(self) -> None:
        self._set(False)

    def __exit__(self, *exception: object) -> None:
        self._set(True)

    def _set(self, flag: bool) -> None:
        for parameter in self._parameters:
            parameter.requires_grad_(flag)
        for module in self._training:
            module.training = flag
