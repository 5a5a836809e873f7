"""The hooks a plugin may implement; each is handed a ``register`` callable, which takes one named object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pluggy import HookimplMarker, HookspecMarker

PROJECT = "eap_plugin"
"""The name of the hooks' pluggy project and of the entry-point group."""

hookspec = HookspecMarker(PROJECT)
hookimpl = HookimplMarker(PROJECT)

Register = Callable[[Any], None]


@hookspec
def register_algorithms(register: Register) -> None:
    """Register algorithms: prune-score providers that turn a model and a task into scores."""


@hookspec
def register_backends(register: Register) -> None:
    """Register backends: what makes one kind of model object look like every other."""


@hookspec
def register_metrics(register: Register) -> None:
    """Register metrics: functions of the logits and a batch that say how well the model does."""


@hookspec
def register_tasks(register: Register) -> None:
    """Register tasks: generators of paired clean and corrupt prompts."""


@hookspec
def register_formats(register: Register) -> None:
    """Register formats: readers of task files, chosen by the file's suffix or by name."""
