"""Find circuits in language models: which internal connections carry a behaviour.

The names below are loaded on first access, so importing this package does not import PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eap_plugin.lazy import homes, loader

if TYPE_CHECKING:
    from eap_plugin.api import algorithms as algorithms
    from eap_plugin.api import backends as backends
    from eap_plugin.api import check as check
    from eap_plugin.api import combine as combine
    from eap_plugin.api import compare as compare
    from eap_plugin.api import compare_with_truth as compare_with_truth
    from eap_plugin.api import estimate_cost as estimate_cost
    from eap_plugin.api import evaluate as evaluate
    from eap_plugin.api import export as export
    from eap_plugin.api import find_circuit as find_circuit
    from eap_plugin.api import held_out_task as held_out_task
    from eap_plugin.api import load_circuit as load_circuit
    from eap_plugin.api import load_model as load_model
    from eap_plugin.api import load_scores as load_scores
    from eap_plugin.api import load_task as load_task
    from eap_plugin.api import metrics as metrics
    from eap_plugin.api import plot as plot
    from eap_plugin.api import prune_scores as prune_scores
    from eap_plugin.api import score_formats as score_formats
    from eap_plugin.api import select as select
    from eap_plugin.api import selections as selections
    from eap_plugin.api import tasks as tasks
    from eap_plugin.api import view as view
    from eap_plugin.api import wrap_model as wrap_model
    from eap_plugin.circuits.circuit import Circuit as Circuit
    from eap_plugin.circuits.evaluation.result import Evaluation as Evaluation
    from eap_plugin.circuits.hypothesis_tests.settings import HypothesisTestSettings as HypothesisTestSettings
    from eap_plugin.data.batch import Batch as Batch
    from eap_plugin.errors import EapPluginError as EapPluginError
    from eap_plugin.errors import UsageError as UsageError
    from eap_plugin.host import hookimpl as hookimpl
    from eap_plugin.model.graph import Graph as Graph
    from eap_plugin.results.node_scores import NodeScores as NodeScores
    from eap_plugin.results.prune_scores import PruneScores as PruneScores
    from eap_plugin.score_format.mib_check import check_submission as check_submission
    from eap_plugin.score_format.networkx_graph import to_networkx as to_networkx

__version__ = "0.1.0"

_NAMES = {
    "api": (
        "algorithms",
        "backends",
        "check",
        "combine",
        "compare",
        "compare_with_truth",
        "estimate_cost",
        "evaluate",
        "find_circuit",
        "held_out_task",
        "export",
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
        "tasks",
        "view",
        "wrap_model",
    ),
    "circuits.circuit": ("Circuit",),
    "circuits.evaluation.result": ("Evaluation",),
    "circuits.hypothesis_tests.settings": ("HypothesisTestSettings",),
    "data.batch": ("Batch",),
    "errors": ("EapPluginError", "UsageError"),
    "host": ("hookimpl",),
    "model.graph": ("Graph",),
    "results.node_scores": ("NodeScores",),
    "results.prune_scores": ("PruneScores",),
    "score_format.mib_check": ("check_submission",),
    "score_format.networkx_graph": ("to_networkx",),
}

_HOME = homes(_NAMES)

__all__ = sorted(_HOME)

__getattr__ = loader(__name__, _HOME)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
