"""Modules whose names are loaded when they are first used, so that importing them costs nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def homes(names: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """The module of each name, from the names of each module."""
    return {name: module for module, group in names.items() for name in group}


def loader(public: str, home: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a module that hands on names of others.

    Args:
        public: the name of the module.
        home: for each of its names, the module of this package that defines it.
    """

    def load(name: str) -> Any:
        if name not in home:
            raise AttributeError(f"module {public!r} has no attribute {name!r}")
        return getattr(import_module(f"eap_plugin.{home[name]}"), name)

    return load
