"""What the entry point names. It imports nothing heavy, so that listing plugins stays fast."""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.plugin import hookimpl


@hookimpl
def register_backends(register: Callable[[object], None]) -> None:
    """Register the backend."""
    from toy_lm.backend import ToyLMBackend

    register(ToyLMBackend())
