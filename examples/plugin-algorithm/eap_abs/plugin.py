"""What the entry point names. It imports nothing heavy, so that listing plugins stays fast."""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.plugin import hookimpl


@hookimpl
def register_algorithms(register: Callable[[object], None]) -> None:
    """Register the algorithm."""
    from eap_abs.algorithm import EapAbs

    register(EapAbs())
