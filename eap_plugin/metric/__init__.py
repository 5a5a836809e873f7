"""The built-in metrics, registered through the hook that any plugin uses.

The code in this folder is sent to servers as source; ``eap_plugin.backend.nnsight.remote.code_shipping`` lists what
such code must not use.
"""

from __future__ import annotations

from collections.abc import Callable

from eap_plugin.host import hookimpl


@hookimpl
def register_metrics(register: Callable[[object], None]) -> None:
    """Register the metrics of ``metric.py``."""
    from eap_plugin.metric.metric import METRICS

    for metric in METRICS:
        register(metric)
