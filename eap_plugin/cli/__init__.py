"""The command line ``eap``: one module per command.

No module here imports PyTorch at its top, so help and the list of plugins appear at once.
"""

from __future__ import annotations

from eap_plugin.cli.group import eap as main

__all__ = ["main"]
