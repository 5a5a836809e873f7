"""Refusal of models that call a module more than once in a forward pass: a site there would have several values."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from eap_plugin.errors import EapPluginError


def called_again(what: str) -> EapPluginError:
    """Return the error for a model that computes ``what`` more than once in a forward pass."""
    return EapPluginError(
        f"the model computes {what} more than once in a forward pass; edge scores are defined only for models that "
        f"call each block once, not for models that share blocks between layers or loop over them"
    )


class CalledOnce(AbstractContextManager[None]):
    """A context in which each of the given modules may be called at most once.

    Raises:
        EapPluginError: on exit, if a module was called more than once.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        """Take the modules to watch, by the names used in error messages."""
        self._modules = modules
        self._calls = dict.fromkeys(modules, 0)
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        """Start counting calls."""
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_pre_hook(self._counter(name)))

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Remove the counters. Check the counts, unless another error is being raised."""
        for handle in self._handles:
            handle.remove()
        again = [name for name, count in self._calls.items() if count > 1]
        if again and error is None:
            raise called_again(again[0])

    def _counter(self, name: str) -> Any:
        def count(module: nn.Module, args: Any) -> None:
            self._calls[name] += 1

        return count
