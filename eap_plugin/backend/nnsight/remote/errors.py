"""What can go wrong between here and a server, in one line each."""

from __future__ import annotations

import platform
import re
from importlib.metadata import version

import httpx
import websocket
from nnsight.intervention.backends.remote import RemoteError

from eap_plugin.backend.nnsight.remote.server import DECISIVE, Server
from eap_plugin.errors import EapPluginError
from eap_plugin.model.remote import Remote

_KEY = "set NDIF_API_KEY or run `nnsight login`; keys are from https://login.ndif.us"

# What a server's refusals begin or end with, and what is said instead of {host}, {model}, {text} and {versions}.
_LINES: tuple[tuple[str, str], ...] = (
    ("Missing or invalid API key", "{host} wants an API key; " + _KEY),
    ("Invalid API key", "{host} does not know this API key; " + _KEY),
    (
        "Could not deploy this model",
        "{host} does not serve {model}; to see what it serves: "
        'NDIF_HOST={host} python -c "import nnsight; print(nnsight.status())"',
    ),
    ("below the minimum supported", "{host} takes no requests from these versions: {text}"),
    ("version was not provided", "{host} takes no requests from these versions: {text}"),
    ("architecture on this server doesn't match", "{host} has {model} with other parts than here; {versions}"),
    ("payload could not be read", "{host} cannot read what was sent; {versions}"),
    ("cancelled", "the job was cancelled on {host}; run it again"),
    ("exceeded the execution timeout", "{text}; send less at a time with --prompts-per-request"),
)


def plainly(error: Exception, model: str, remote: Remote, server: Server | None) -> EapPluginError:
    """An exception on the way to a server or there, as the line that a person needs."""
    text = " ".join(str(error).split()).removeprefix("Failed to send request: ")
    if isinstance(error, RemoteError):
        for sign, line in _LINES:
            if sign in text:
                told = line.format(host=remote.host, model=model, text=text, versions=_versions(server))
                return EapPluginError(told)
        if "Traceback" in text:
            return EapPluginError(f"the run failed on {remote.host}: {last_line(str(error))}")
        return EapPluginError(f"{remote.host} refuses the request: {text}")
    if isinstance(error, (OSError, httpx.HTTPError, websocket.WebSocketException)):
        return EapPluginError(
            f"cannot reach {remote.host}: {text or type(error).__name__}; check the address and whether it is up"
        )
    return EapPluginError(f"the run failed on {remote.host}: {type(error).__name__}: {text}")


LEFTOVERS = ("cannot be on a different thread", "nnsight has no source for [")
"""What a server says that is not done with the job before: it was cancelled, or its sources are forgotten late."""


def fails_once(error: Exception) -> bool:
    """Whether it is a server's leftover of the job before: the next request does not meet it."""
    return isinstance(error, RemoteError) and any(leftover in str(error) for leftover in LEFTOVERS)


def last_line(traceback: str) -> str:
    """What was raised, from a traceback's text, and in which line of the code that travelled."""
    raised = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning)?(: |$)")
    lines = traceback.rstrip().splitlines()
    starts = [i for i, line in enumerate(lines) if raised.match(line) and not line.startswith("Traceback")]
    told = " ".join(" ".join(lines[starts[-1] :] if starts else lines[-1:]).split())
    places = re.findall(r'File "\[\w+:\d+\] ([^"]+)", line (\d+), in (\S+)', traceback)
    return told + (f" (in {places[-1][2]}, {places[-1][0]}:{places[-1][1]})" if places else "")


def _versions(server: Server | None) -> str:
    """Where the versions of decisive packages differ."""
    there = {} if server is None else {"python": server.python, **server.packages}
    here = {"python": platform.python_version()} | {name: version(name) for name in DECISIVE}
    differ = [
        f"{name} {there[name]} there, {here[name]} here" for name in here if there.get(name, here[name]) != here[name]
    ]
    return f"versions differ: {', '.join(differ)}" if differ else "compare versions with nnsight.ndif.compare()"
