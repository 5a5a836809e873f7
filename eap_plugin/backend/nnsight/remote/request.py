"""One request to a server, from sending it to its result, with what nnsight's own waiting lacks.

A time-out, a lost connection that is told as such, sizes, and news of how it is getting on.
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

GLANCE = 0.5
"""Seconds between looks at the clock."""


class Connection(RemoteBackend):  # type: ignore[misc]
    """Sends the block of a session and waits for its result."""

    def __init__(self, envoy: Any, remote: Remote) -> None:
        """Prepare a request for a model."""
        super().__init__(envoy.to_model_key(), host=address(remote), env=envoy._remoteable_get_env())
        self._remote = remote
        if remote.status is not None:
            self.display.enabled = False

    def request(self, request: Any, tracer: Any) -> Any:
        """Send the block of ``tracer``; gives the values it saved.

        Raises:
            RemoteError: if the server refuses it or it fails there.
            EapPluginError: if it takes too long, or the connection breaks.
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
        socket.settimeout(GLANCE)
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
                    f"the connection to {self._remote.host} was lost while waiting for the result, which cannot be "
                    f"had any more; run it again (with --prompts-per-request and --resume, finished parts are kept)"
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
                f"more with --timeout, or send less at a time with --prompts-per-request"
            )

    def note(self, response: Any) -> bool:
        """Pass on a change of status; raises RemoteError if it is a failure, gives whether it is the end."""
        what = "" if response.status == Status.ERROR else f": {response.description}"
        self._remote.tell(" ".join(f"{response.status.value.lower()}{what}".split()))
        return bool(super().note(response))

    def finalize(self, content: bytes) -> Any:
        """The saved values from their bytes; plain values and tensors only, so that nothing is executed."""
        self._remote.bytes_received += len(content)
        self._remote.tell(f"received {size(len(content))}")
        plain = zstandard.ZstdDecompressor().decompress(content) if self.compress else content
        return torch.load(io.BytesIO(plain), map_location="cpu", weights_only=True)

    def _post(self, request: Any, blob: bytes) -> Any:
        """Send; a server's answer may quote the API key, which is taken out."""
        try:
            return super()._post(request, blob)
        except RemoteError as error:
            raise RemoteError(str(error).replace(self.api_key or "\0", "(the key)")) from None


def size(n: int) -> str:
    """A number of bytes as people read it."""
    return f"{n / 1000:.1f} kB" if n < 1_000_000 else f"{n / 1_000_000:.1f} MB"
