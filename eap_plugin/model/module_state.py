"""The state of PyTorch modules that a run must not change: hooks, ``training`` and ``requires_grad``."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import Any

from torch import nn

_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_ABOUT_HOOKS = (
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "fwd_hooks",  # of TransformerLens' hook points
    "bwd_hooks",
)


class ModuleState:
    """The hooks and flags of some modules, recorded so that they can be restored."""

    def __init__(self, roots: Iterable[nn.Module]) -> None:
        """Record the state of ``roots`` and all their submodules."""
        found: dict[int, _Found] = {}
        for root in roots:
            for name, module in nn.Module.named_modules(root):
                found.setdefault(id(module), _Found(name or type(module).__name__, module))
        self._found = list(found.values())

    def restore(self) -> list[str]:
        """Restore the recorded state and return a list of what had changed, such as "1 hook on blocks.0 added"."""
        return [change for found in self._found for change in found.restore()]


class _Found:
    """The recorded state of one module."""

    def __init__(self, name: str, module: nn.Module) -> None:
        self._name, self._module, self._training = name, module, module.training
        self._tables = {t: copy(vars(module)[t]) for t in (*_HOOKS, *_ABOUT_HOOKS) if t in vars(module)}
        self._asks = [(key, p, p.requires_grad) for key, p in module._parameters.items() if p is not None]

    def restore(self) -> list[str]:
        """Restore the module and return a list of what had changed."""
        return [*self._restore_hooks(), *self._restore_flags()]

    def _restore_hooks(self) -> list[str]:
        changes = []
        for table, was in self._tables.items():
            now = vars(self._module)[table]
            if table in _HOOKS:
                ways = (("added", len(now.keys() - was.keys())), ("removed", len(was.keys() - now.keys())))
                changes += [f"{n} hook{'s' * (n > 1)} on {self._name} {way}" for way, n in ways if n]
            if now != was:
                _refill(now, was)
        return changes

    def _restore_flags(self) -> list[str]:
        changes = []
        if self._module.training != self._training:
            self._module.training = self._training
            changes.append(f"training of {self._name} set to {not self._training}")
        for key, parameter, asked in self._asks:
            if parameter.requires_grad != asked:
                parameter.requires_grad_(asked)
                changes.append(f"requires_grad of {self._name}.{key} set to {not asked}")
        return changes


def _refill(table: Any, content: Any) -> None:
    """Restore the content of a list or mapping in place, because others may hold references to it."""
    table.clear()
    table.extend(content) if isinstance(table, list) else table.update(content)
