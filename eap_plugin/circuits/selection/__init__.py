"""The built-in selection methods, registered through the same hook as any plugin's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eap_plugin.host import hookimpl

if TYPE_CHECKING:
    from eap_plugin.circuits.selection.base import Selection


@hookimpl
def register_selections(register: Callable[[Selection[Any]], None]) -> None:
    """Register the selection methods."""
    from eap_plugin.circuits.selection.bootstrap import Bootstrap
    from eap_plugin.circuits.selection.greedy import Greedy
    from eap_plugin.circuits.selection.ilp import Ilp
    from eap_plugin.circuits.selection.positive_first import PositiveFirst
    from eap_plugin.circuits.selection.top import Top

    for method in (Top(), Greedy(), PositiveFirst(), Bootstrap(), Ilp()):
        register(method)
