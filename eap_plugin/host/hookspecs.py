"""The hooks that a plugin may implement; each receives a callable ``register``, which takes one named object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pluggy import HookimplMarker, HookspecMarker

PROJECT = "eap_plugin"
"""The name of the pluggy project and of the entry-point group."""

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)

Register = Callable[[Any], None]


@hookspec
def register_algorithms(register: Register) -> None:
    """Register algorithms, which score the edges of a model on a task."""


@hookspec
def register_backends(register: Register) -> None:
    """Register backends, which wrap one library's models as ``ResidualModel``s."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics: functions of the logits and a batch that measure how well the model does."""


@hookspec
def register_selections(register: Register) -> None:
    """Register selection methods, which choose the edges of a circuit by their scores."""


@hookspec
def register_score_formats(register: Register) -> None:
    """Register score formats, which read or write files of scores and circuits as other tools have them."""


@hookspec
def register_tasks(register: Register) -> None:
    """Register tasks: generators of paired clean and corrupt prompts."""


@hookspec
def register_formats(register: Register) -> None:
    """Register formats of task files; one is chosen by the file's suffix or by name."""
