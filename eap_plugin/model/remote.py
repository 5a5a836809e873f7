"""A server that runs execute on, and a count of the requests sent to it. Imports no model library."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from eap_plugin.errors import UsageError

LOCAL = "local"
"""In place of an address: a server simulated in this process."""


@dataclass
class Remote:
    """A server that runs execute on.

    Attributes:
        url: the server's address; ``""`` for the one that nnsight is configured for, ``LOCAL`` for a simulation.
        timeout: seconds to wait for a request's result; ``None`` for no limit.
        status: called with short messages about the progress of a request.
        host: the server's address as it may be shown and saved: without user, password and path.
        requests: the number of requests that were answered.
        bytes_sent: their total size in bytes, compressed.
        bytes_received: the total size of their results in bytes, compressed.
        seconds: the total time from sending them to receiving their results.
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
        """Check the address and the time limit."""
        if self.url not in ("", LOCAL) and urlsplit(self.url).scheme not in ("http", "https"):
            raise UsageError(f"a server's address has the form http://host:port, got {public(self.url)!r}")
        if self.timeout is not None and not self.timeout > 0:
            raise UsageError(f"timeout must be a positive number of seconds, got {self.timeout}")
        self.host = public(self.url)

    def tell(self, what: str) -> None:
        """Report the progress of a request in a short message."""
        if self.status is not None:
            self.status(what)

    def record(self) -> dict[str, str | int | float]:
        """Return what a score file records about the server and its requests."""
        return {
            "host": self.host,
            "requests": self.requests,
            "bytes_sent": self.bytes_sent,
            "bytes_received": self.bytes_received,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class RemoteOptions:
    """A user's choice of where a run executes.

    Attributes:
        where: false for this process, true for the server that nnsight is configured for, an address, or ``"local"``
            for a simulation.
        timeout: seconds to wait for a request's result; ``None`` for no limit.
        status: called with short messages about the progress of a request.
    """

    where: bool | str = False
    timeout: float | None = None
    status: Callable[[str], None] | None = None

    def server(self) -> Remote:
        """Return the server that the options ask for."""
        return Remote("" if self.where is True else str(self.where), self.timeout, self.status)


def public(url: str) -> str:
    """Return an address without user, password, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else url
