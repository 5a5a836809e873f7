"""Find circuits in language models: which internal connections carry a behaviour.

Nothing heavy is imported until it is used: names below are loaded on first access.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from eap_plugin.api import (
        algorithms,
        backends,
        check,
        estimate_cost,
        load_model,
        load_task,
        metrics,
        prune_scores,
        tasks,
        wrap_model,
    )
    from eap_plugin.data.batch import Batch
    from eap_plugin.errors import EapPluginError, UsageError
    from eap_plugin.host import hookimpl
    from eap_plugin.model.graph import Graph
    from eap_plugin.results.node_scores import NodeScores
    from eap_plugin.results.prune_scores import PruneScores

__version__ = "0.1.0"

_HOME = {
    "Batch": "data.batch",
    "EapPluginError": "errors",
    "Graph": "model.graph",
    "NodeScores": "results.node_scores",
    "PruneScores": "results.prune_scores",
    "UsageError": "errors",
    "algorithms": "api",
    "backends": "api",
    "check": "api",
    "estimate_cost": "api",
    "hookimpl": "host",
    "load_model": "api",
    "load_task": "api",
    "metrics": "api",
    "prune_scores": "api",
    "tasks": "api",
    "wrap_model": "api",
}

__all__ = [
    "Batch",
    "EapPluginError",
    "Graph",
    "NodeScores",
    "PruneScores",
    "UsageError",
    "algorithms",
    "backends",
    "check",
    "estimate_cost",
    "hookimpl",
    "load_model",
    "load_task",
    "metrics",
    "prune_scores",
    "tasks",
    "wrap_model",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its home."""
    if name not in _HOME:
        raise AttributeError(f"module 'eap_plugin' has no attribute {name!r}")
    return getattr(import_module(f"eap_plugin.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    """The public names."""
    return sorted([*__all__, "__version__"])
