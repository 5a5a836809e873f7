"""Modules whose names are loaded on first access, so that importing the modules is fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def homes(names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Map each name to its module, given the names in each module."""
    return {name: module for module, group in names.items() for name in group}


def loader(public: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a ``__getattr__`` for a module that re-exports names of other modules.

    Args:
        public: the name of the re-exporting module.
        home: for each of its names, the module of this package that defines it.
    """

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {public!r} has no attribute {name!r}")
        return getattr(import_module(f"eap_plugin.{home[name]}"), name)

    return load
