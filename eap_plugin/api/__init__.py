"""The public functions: load a model and a task, score edges, select and compare circuits, check a model."""

from __future__ import annotations

from eap_plugin.api.circuits import select
from eap_plugin.api.comparison import compare, compare_with_truth
from eap_plugin.api.evaluation import evaluate
from eap_plugin.api.model_check import check
from eap_plugin.api.models import load_model, wrap_model
from eap_plugin.api.prompts import load_task, task_source
from eap_plugin.api.registries import algorithms, backends, formats, metrics, selections, tasks
from eap_plugin.api.scoring import estimate_cost, prune_scores
from eap_plugin.results.combination import combine

__all__ = [
    "algorithms",
    "backends",
    "check",
    "combine",
    "compare",
    "compare_with_truth",
    "estimate_cost",
    "evaluate",
    "formats",
    "load_model",
    "load_task",
    "metrics",
    "prune_scores",
    "select",
    "selections",
    "task_source",
    "tasks",
    "wrap_model",
]
