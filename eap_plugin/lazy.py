"""Modules that are loaded when they are needed, so that importing this package is fast; some need not be installed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

from eap_plugin.errors import EapPluginError


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


def optional(module: str, what: str) -> Any:
    """Import a module of a library that this package does not depend on.

    Raises:
        EapPluginError: if it is not installed; the message says that ``what`` needs it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise EapPluginError(
            f"{what} needs {library}, which is not installed; install it with: pip install {library}"
        ) from error
