"""Evaluation mode and frozen parameters for the time of a run, restored afterwards even if the run fails.

This is a class and not a ``@contextmanager`` function, because nnsight sends functions to a server without their
decorators.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from eap_plugin.backend.offloading import is_offloaded, reloading_weights


def frozen_modules(*roots: nn.Module) -> AbstractContextManager[None]:
    """Return a context in which modules are in evaluation mode and no parameter requires a gradient.

    On exit, every flag has its old value again. A parameter's ``grad`` is not touched. In the context, autograd does
    not keep weights that are offloaded.
    """
    modules = list({id(m): m for root in roots for m in nn.Module.modules(root)}.values())
    parameters = [(m, name) for m in modules for name, p in m._parameters.items() if p is not None and p.requires_grad]
    offloaded = reloading_weights(modules) if is_offloaded(roots) else None
    return _Frozen(parameters, [m for m in modules if m.training], offloaded)


class _Frozen(AbstractContextManager[None]):
    """A context that sets ``requires_grad`` of parameters and ``training`` of modules to false, then back to true.

    Parameters are found by name, since those that are offloaded are replaced in every pass.
    """

    def __init__(
        self,
        parameters: list[tuple[nn.Module, str]],
        training: list[nn.Module],
        offloaded: AbstractContextManager[Any] | None,
    ) -> None:
        self._parameters, self._training, self._offloaded = parameters, training, offloaded

    def __enter__(self) -> None:
        self._set(False)
        if self._offloaded is not None:
            self._offloaded.__enter__()

    def __exit__(self, *exception: Any) -> None:
        if self._offloaded is not None:
            self._offloaded.__exit__(*exception)
        self._set(True)

    def _set(self, flag: bool) -> None:
        for module, name in self._parameters:
            parameter = module._parameters[name]
            if parameter is not None:
                parameter.requires_grad_(flag)
        for module in self._training:
            module.training = flag
