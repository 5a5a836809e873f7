"""The public functions: load a model and a task, score edges, select and compare circuits, check a model."""

from __future__ import annotations

from eap_plugin.api.circuits import select
from eap_plugin.api.comparison import compare, compare_with_truth
from eap_plugin.api.evaluation import evaluate
from eap_plugin.api.files import export, load_circuit, load_scores
from eap_plugin.api.finding import find_circuit
from eap_plugin.api.model_check import check
from eap_plugin.api.models import load_model, wrap_model
from eap_plugin.api.plotting import plot
from eap_plugin.api.prompts import held_out_task, load_task, task_source
from eap_plugin.api.registries import algorithms, backends, formats, metrics, score_formats, selections, tasks
from eap_plugin.api.scoring import estimate_cost, prune_scores
from eap_plugin.api.viewing import view
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
    "export",
    "find_circuit",
    "formats",
    "held_out_task",
    "load_circuit",
    "load_model",
    "load_scores",
    "load_task",
    "metrics",
    "plot",
    "prune_scores",
    "score_formats",
    "select",
    "selections",
    "task_source",
    "tasks",
    "view",
    "wrap_model",
]
