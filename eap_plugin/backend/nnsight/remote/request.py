"""One request to a server, from sending it to reading its result.

This extends nnsight's own backend: it adds a time limit, a clear error if the connection is lost, the sizes of request
and result, and status messages.
"""

from __future__ import annotations

import io
import json
import time
from typing import Any

import torch
import websocket
import zstandard
from nnsight.intervention.backends.remote import RemoteBackend, RemoteError
from nnsight.schema.response import Status

from eap_plugin.backend.nnsight.remote.server import CONNECT_WITHIN, address
from eap_plugin.errors import EapPluginError
from eap_plugin.model.remote import Remote

POLL_INTERVAL = 0.5
"""Seconds between checks of the time limit."""


class Connection(RemoteBackend):  # type: ignore[misc]
    """A connection that sends the code of one session and waits for its result."""

    def __init__(self, envoy: Any, remote: Remote) -> None:
        """Prepare a request to run code on a model."""
        super().__init__(envoy.to_model_key(), host=address(remote), env=envoy._remoteable_get_env())
        self._remote = remote
        if remote.status is not None:
            self.display.enabled = False

    def request(self, request: Any, tracer: Any) -> Any:
        """Send the code of a session and return the values that it saved.

        Raises:
            RemoteError: if the server refuses the request, or the code fails there.
            EapPluginError: if it takes longer than the time limit, or the connection is lost.
        """
        remote, started = self._remote, time.monotonic()
        blob = self._serialize(tracer)
        header = {"ndif-api-key": self.api_key} if self.api_key else None
        socket = websocket.create_connection(f"{self.ws_host}/subscribe", header=header, timeout=CONNECT_WITHIN)
        try:
            request.session_id = json.loads(socket.recv())["session_id"]
            remote.tell(f"sending {size(len(blob))}")
            self.send(request, blob)
            remote.bytes_sent += len(blob)
            result = self._wait(socket, started)
        finally:
            socket.close()
        remote.requests += 1
        remote.seconds += time.monotonic() - started
        return result

    def _wait(self, socket: Any, started: float) -> Any:
        socket.settimeout(POLL_INTERVAL)
        while True:
            try:
                message = socket.recv()
            except websocket.WebSocketTimeoutException:
                self.display.refresh()
                self._check_time(started)
                continue
            except (OSError, websocket.WebSocketException):
                message = ""
            if not message:
                raise EapPluginError(
                    f"the connection to {self._remote.host} was lost while waiting for the result, which is lost, too; "
                    f"run it again (with --prompts-per-request and --resume, finished parts are kept)"
                )
            response = self.parse(message)
            result = self.handle(response)
            if response.status == Status.COMPLETED:
                return result

    def _check_time(self, started: float) -> None:
        limit = self._remote.timeout
        if limit is not None and time.monotonic() - started > limit:
            raise EapPluginError(
                f"{self._remote.host} gave no result within {limit:g} s; the job may still be running there; allow "
                f"more time with --timeout, or send fewer prompts at a time with --prompts-per-request"
            )

    def note(self, response: Any) -> bool:
        """Report a change of status and return whether it is the last one; raise ``RemoteError`` if it is a failure."""
        what = "" if response.status == Status.ERROR else f": {response.description}"
        self._remote.tell(" ".join(f"{response.status.value.lower()}{what}".split()))
        return bool(super().note(response))

    def finalize(self, content: bytes) -> Any:
        """Decode the saved values; only plain values and tensors are accepted, so no code is executed."""
        self._remote.bytes_received += len(content)
        self._remote.tell(f"received {size(len(content))}")
        plain = zstandard.ZstdDecompressor().decompress(content) if self.compress else content
        return torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)

    def _post(self, request: Any, blob: bytes) -> Any:
        """Send the request; if the server's error message quotes the API key, remove it."""
        try:
            return super()._post(request, blob)
        except RemoteError as error:
            raise RemoteError(str(error).replace(self.api_key or "\0", "(the key)")) from None


def size(n: int) -> str:
    """Format a number of bytes, such as ``1.5 MB``."""
    return f"{n / 1000:.1f} kB" if n < 1_000_000 else f"{n / 1_000_000:.1f} MB"
