"""One-line error messages for what can go wrong with a request to a server."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version

import httpx
import websocket
from nnsight.intervention.backends.remote import RemoteError

from eap_plugin.backend.nnsight.remote.server import VERSION_SENSITIVE, Server
from eap_plugin.errors import EapPluginError
from eap_plugin.model.remote import Remote

_KEY = "set NDIF_API_KEY or run `nnsight login`; get a key at https://login.ndif.us"

# Pairs: a phrase in the server's error message, and the message shown instead.
_LINES: tuple[tuple[str, str], ...] = (
    ("Missing or invalid API key", "{host} requires an API key; " + _KEY),
    ("Invalid API key", "{host} does not accept this API key; " + _KEY),
    (
        "Could not deploy this model",
        "{host} does not serve {model}; to see what it serves: "
        'NDIF_HOST={host} python -c "import nnsight; print(nnsight.status())"',
    ),
    ("below the minimum supported", "{host} does not support the versions installed here: {text}"),
    ("version was not provided", "{host} does not support the versions installed here: {text}"),
    ("architecture on this server doesn't match", "{host} has {model} with a different architecture; {versions}"),
    ("payload could not be read", "{host} cannot read what was sent; {versions}"),
    ("cancelled", "the job was cancelled on {host}; run it again"),
    ("exceeded the execution timeout", "{text}; send fewer prompts at a time with --prompts-per-request"),
)


def one_line_error(error: Exception, model: str, remote: Remote, server: Server | None) -> EapPluginError:
    """Turn an exception from a request, here or on the server, into a one-line error that says what to do."""
    text = " ".join(str(error).split()).removeprefix("Failed to send request: ")
    if isinstance(error, RemoteError):
        for sign, line in _LINES:
            if sign in text:
                told = line.format(host=remote.host, model=model, text=text, versions=_versions(server))
                return EapPluginError(told)
        if "Traceback" in text:
            return EapPluginError(f"the run failed on {remote.host}: {last_line(str(error))}")
        return EapPluginError(f"{remote.host} refused the request: {text}")
    if isinstance(error, (OSError, httpx.HTTPError, websocket.WebSocketException)):
        return EapPluginError(
            f"cannot reach {remote.host}: {text or type(error).__name__}; check the address and that the server is up"
        )
    return EapPluginError(f"the run failed on {remote.host}: {type(error).__name__}: {text}")


TRANSIENT = ("cannot be on a different thread", "nnsight has no source for [")
"""Server messages that mean the previous job has left something behind: it was cancelled, or its sources linger."""


def is_transient(error: Exception) -> bool:
    """Return whether an error is transient, left by the server's previous job: a second request will not meet it."""
    return isinstance(error, RemoteError) and any(message in str(error) for message in TRANSIENT)


def last_line(traceback: str) -> str:
    """Read from a traceback's text the exception, and the line of the sent code that raised it."""
    raised = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)?(: |$)")
    lines = traceback.rstrip().splitlines()
    starts = [i for i, line in enumerate(lines) if raised.match(line) and not line.startswith("Traceback")]
    told = " ".join(" ".join(lines[starts[-1] :] if starts else lines[-1:]).split())
    places = re.findall(r'File "\[\w+:\d+\] ([^"]+)", line (\d+), in (\S+)', traceback)
    return told + (f" (in {places[-1][2]}, {places[-1][0]}:{places[-1][1]})" if places else "")


def _versions(server: Server | None) -> str:
    """Say which versions of the packages in ``VERSION_SENSITIVE`` differ between server and client."""
    there = {} if server is None else {"python": server.python, **server.packages}
    here = {"python": platform.python_version()} | {name: version(name) for name in VERSION_SENSITIVE}
    differ = [
        f"{name} {there[name]} there, {here[name]} here" for name in here if there.get(name, here[name]) != here[name]
    ]
    return f"versions differ: {', '.join(differ)}" if differ else "compare versions with nnsight.ndif.compare()"
