"""Modules that a forward pass calls more than once, where a site would be several values; they are refused."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from torch import nn

from eap_plugin.errors import EapPluginError


def called_again(what: str) -> EapPluginError:
    """The error for a model that runs a part of itself more than once in a forward pass."""
    return EapPluginError(
        f"the model comes by {what} more than once in a forward pass; edge scores are defined for models that call "
        f"each block once, not for those that share blocks between layers or loop over them"
    )


class CalledOnce(AbstractContextManager[None]):
    """Within it each module may be called once.

    Raises:
        EapPluginError: on leaving, if one was called more often.
    """

    def __init__(self, modules: Mapping[str, nn.Module]) -> None:
        """Watch modules, by the names to report them by."""
        self._modules = modules
        self._calls = dict.fromkeys(modules, 0)
        self._handles: list[Any] = []

    def __enter__(self) -> None:
        """Count from here."""
        for name, module in self._modules.items():
            self._handles.append(module.register_forward_pre_hook(self._counter(name)))

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        """Take the counters off, and look at them unless something else went wrong."""
        for handle in self._handles:
            handle.remove()
        again = [name for name, count in self._calls.items() if count > 1]
        if again and error is None:
            raise called_again(again[0])

    def _counter(self, name: str) -> Any:
        def count(module: nn.Module, args: Any) -> None:
            self._calls[name] += 1

        return count
