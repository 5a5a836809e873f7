"""The registries of what plugins provide, by name."""

from __future__ import annotations

from typing import Any

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.backend.base import Backend
from eap_plugin.circuits.selection.base import Selection
from eap_plugin.host import get_host
from eap_plugin.host.registry import Registry
from eap_plugin.metric.metric import Metric
from eap_plugin.score_format.base import ScoreFormat
from eap_plugin.task.base import TaskFormat, TaskGenerator


def algorithms() -> Registry[Algorithm[Any]]:
    """Return the registered algorithms, by name."""
    return get_host().registry("algorithms")


def backends() -> Registry[Backend]:
    """Return the registered model backends, by name."""
    return get_host().registry("backends")


def metrics() -> Registry[Metric]:
    """Return the registered metrics, by name."""
    return get_host().registry("metrics")


def selections() -> Registry[Selection[Any]]:
    """Return the registered methods that select circuits, by name."""
    return get_host().registry("selections")


def score_formats() -> Registry[ScoreFormat]:
    """Return the registered formats of files with scores and circuits, by name."""
    return get_host().registry("score_formats")


def tasks() -> Registry[TaskGenerator]:
    """Return the registered task generators, by name."""
    return get_host().registry("tasks")


def formats() -> Registry[TaskFormat]:
    """Return the registered formats of task files, by name."""
    return get_host().registry("formats")
