"""The plugin host: finds plugins through entry points and keeps what they register, each on its own.

Importing it costs pluggy and the standard library, never torch.
"""

from __future__ import annotations

from eap_plugin.host.hookspecs import hookimpl, hookspec
from eap_plugin.host.manager import Host, get_host
from eap_plugin.host.plugin import PluginInfo

__all__ = ["Host", "PluginInfo", "get_host", "hookimpl", "hookspec"]
