"""The plugin host: it finds plugins through entry points, loads each separately and keeps what they register.

It imports pluggy and the standard library, never PyTorch.
"""

from __future__ import annotations

from eap_plugin.host.hookspecs import hookimpl, hookspec
from eap_plugin.host.manager import Host, get_host
from eap_plugin.host.plugin import PluginInfo

__all__ = ["Host", "PluginInfo", "get_host", "hookimpl", "hookspec"]
