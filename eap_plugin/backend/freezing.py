"""Evaluation mode and frozen parameters for the time of a run, restored afterwards even if the run fails.

This is a class and not a ``@contextmanager`` function, because nnsight sends functions to a server without their
decorators.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from torch import nn


def frozen_modules(*roots: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which modules are in evaluation mode and no parameter requires a gradient.

    On exit, every flag has its old value again. A parameter's ``grad`` is not touched.
    """
    modules = {id(m): m for root in roots for m in nn.Module.modules(root)}.values()
    parameters = [p for m in modules for p in m._parameters.values() if p is not None and p.requires_grad]
    return _Frozen(parameters, [m for m in modules if m.training])


class _Frozen(AbstractContextManager[None]):
    """A context that sets ``requires_grad`` of parameters and ``training`` of modules to false, then back to true."""

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
