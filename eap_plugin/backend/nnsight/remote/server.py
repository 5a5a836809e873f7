"""The packages that a server has installed, which it is asked for before anything is sent to it."""

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

ALWAYS_INSTALLED = frozenset(
    {"accelerate", "cloudpickle", "einops", "nnsight", "numpy", "peft", "torch", "transformers"}
)
"""Packages that every NDIF server has."""

VERSION_SENSITIVE = ("nnsight", "torch", "transformers")
"""Packages whose versions can make a run fail if they differ between client and server."""

CONNECT_WITHIN = 10.0
ANSWER_WITHIN = 30.0
"""Seconds to wait for a connection, and for the server to say what it has installed."""


@dataclass(frozen=True)
class Server:
    """The software on a server.

    Attributes:
        python: the version of Python; empty if not known.
        packages: known versions of packages, by import name.
    """

    python: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)

    def has(self, module: str) -> bool:
        """Return whether a module can be imported on the server."""
        root = module.partition(".")[0]
        return (
            root in ALWAYS_INSTALLED or root in self.packages or root in sys.stdlib_module_names or root == "builtins"
        )


SIMULATED = Server()


def address(remote: Remote) -> str:
    """Return the address to which requests are sent."""
    return (remote.url or str(CONFIG.API.HOST)).rstrip("/")


def ask(remote: Remote) -> Server:
    """Ask a server what it has installed; return an empty ``Server`` if it answers but does not say.

    Raises:
        httpx.TransportError: if it cannot be reached.
        EapPluginError: if its minor version of Python differs from this one.
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
            f"{remote.host} runs Python {server.python} and this is Python {platform.python_version()}, but sending "
            f"code needs the same minor version; use Python {'.'.join(server.python.split('.')[:2])} here"
        )
    return server
