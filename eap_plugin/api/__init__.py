"""What users call: load a model and a task, score edges, check a model."""

from __future__ import annotations

from eap_plugin.api.scoring import (
    algorithms,
    backends,
    check,
    estimate_cost,
    load_model,
    load_task,
    metrics,
    prune_scores,
    task_source,
    tasks,
    wrap_model,
)

__all__ = [
    "algorithms",
    "backends",
    "check",
    "estimate_cost",
    "load_model",
    "load_task",
    "metrics",
    "prune_scores",
    "task_source",
    "tasks",
    "wrap_model",
]
