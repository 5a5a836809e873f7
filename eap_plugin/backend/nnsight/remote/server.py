"""What a server has installed, asked before anything is sent to it."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from nnsight.schema.config import CONFIG

from eap_plugin.errors import EapPluginError
from eap_plugin.model.remote import Remote

EVERYWHERE = frozenset({"accelerate", "cloudpickle", "einops", "nnsight", "numpy", "peft", "torch", "transformers"})
"""Packages that every NDIF server has."""

DECISIVE = ("nnsight", "torch", "transformers")
"""Packages whose versions, if they differ, can make a run fail."""

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 30.0
"""Seconds."""


@dataclass(frozen=True)
class Server:
    """What runs there.

    Attributes:
        python: its version; empty if not known.
        packages: versions by import name, as far as known.
    """

    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)

    def has(self, module: str) -> bool:
        """Whether a module can be imported there."""
        root = module.partition(".")[0]
        return root in EVERYWHERE or root in self.packages or root in sys.stdlib_module_names or root == "builtins"


SIMULATED = Server()


def address(remote: Remote) -> str:
    """The address that requests go to."""
    return (remote.url or str(CONFIG.API.HOST)).rstrip("/")


def ask(remote: Remote) -> Server:
    """What a server says that it has; nothing, if it answers but does not say.

    Raises:
        httpx.TransportError: if it cannot be reached.
        EapPluginError: if its Python is another one than this.
    """
    told: dict[str, Any] = {}
    try:
        answer = httpx.get(f"{address(remote)}/env", timeout=httpx.Timeout(CONNECT_WITHIN, read=ANSWER_WITHIN))
        told = answer.raise_for_status().json()
    except (httpx.HTTPStatusError, httpx.ReadTimeout, ValueError):
        pass
    server = Server(str(told.get("python_version", "")).partition(" ")[0], dict(told.get("packages", {})))
    if server.python and server.python.split(".")[:2] != platform.python_version().split(".")[:2]:
        raise EapPluginError(
            f"{remote.host} runs Python {server.python} and this is {platform.python_version()}: code that travels "
            f"needs the same minor version; use Python {'.'.join(server.python.split('.')[:2])} here"
        )
    return server
