"""The interactive viewer of circuits: one HTML document that needs neither a server nor a network."""

from __future__ import annotations

from eap_plugin.display.viewer.page import page

__all__ = ["page"]
