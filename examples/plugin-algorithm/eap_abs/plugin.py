"""The plugin's hook, named by the entry point. It imports PyTorch only when called, so that listing plugins is fast."""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.plugin import hookimpl


@hookimpl
def register_algorithms(register: Callable[[object], None]) -> None:
    """Register the algorithm."""
    from eap_abs.algorithm import EapAbs

    register(EapAbs())
