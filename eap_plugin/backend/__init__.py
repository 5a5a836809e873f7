"""The built-in backends, registered through the hook that any plugin uses."""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.host import hookimpl


@hookimpl
def register_backends(register: Callable[[object], None]) -> None:
    """Register the built-in backends."""
    from eap_plugin.backend.nnsight import NNsightBackend
    from eap_plugin.backend.transformer_lens import TransformerLens

    register(TransformerLens())
    register(NNsightBackend())
