"""A server that a model runs on, and what has gone over the line to it. Knows no library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from eap_plugin.errors import UsageError

LOCAL = "local"
"""Stands for a server that is simulated in this process."""


@dataclass
class Remote:
    """Where runs execute.

    Attributes:
        url: the server's address; ``""`` for the one that is configured, ``LOCAL`` for a simulation.
        timeout: how many seconds to wait for a request's result; ``None`` for as long as it takes.
        status: told in a few words how a request is getting on.
        host: the server's name as it may be shown and saved: without user, password and path.
        requests: how many were answered.
        bytes_sent: their size, compressed.
        bytes_received: the size of their results, compressed.
        seconds: how long they took, from sending to the result.
    """

    url: str
    timeout: float | None = None
    status: Callable[[str], None] | None = None
    host: str = ""
    requests: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Check the address and the time."""
        if self.url not in ("", LOCAL) and urlsplit(self.url).scheme not in ("http", "https"):
            raise UsageError(f"a server's address is written http://host:port, got {public(self.url)!r}")
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"a time-out is a positive number of seconds, got {self.timeout}")
        self.host = public(self.url)

    def tell(self, what: str) -> None:
        """Pass on how a request is getting on."""
        if self.status is not None:
            self.status(what)

    def record(self) -> dict[str, str | int | float]:
        """What a score file says of it."""
        return {
            "host": self.host,
            "requests": self.requests,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class RemoteOptions:
    """Where a user wants a run to execute.

    Attributes:
        where: false for this process, true for the server that is configured, an address, or ``"local"`` for a
            simulation.
        timeout: how many seconds to wait for a request's result; ``None`` for as long as it takes.
        status: told in a few words how a request is getting on.
    """

    where: bool | str = False
    timeout: float | None = None
    status: Callable[[str], None] | None = None

    def server(self) -> Remote:
        """The server that this asks for."""
        return Remote("" if self.where is True else str(self.where), self.timeout, self.status)


def public(url: str) -> str:
    """An address without what it may hold of user, password, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else url
