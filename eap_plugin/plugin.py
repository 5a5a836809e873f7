"""Everything that the author of a plugin imports: base classes, options, the model, data and interventions.

Names are loaded on first access, so that a plugin's hooks can be found without importing PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from eap_plugin.lazy import homes, loader

if TYPE_CHECKING:
    from eap_plugin.algorithm.base import Algorithm as Algorithm
    from eap_plugin.algorithm.base import Attribution as Attribution
    from eap_plugin.algorithm.base import Cost as Cost
    from eap_plugin.algorithm.base import Level as Level
    from eap_plugin.algorithm.base import Progress as Progress
    from eap_plugin.algorithm.contrast import Contrast as Contrast
    from eap_plugin.algorithm.contrast import contrast as contrast
    from eap_plugin.algorithm.contrast import mean_over as mean_over
    from eap_plugin.algorithm.gradient.base import GradientAlgorithm as GradientAlgorithm
    from eap_plugin.algorithm.gradient.base import GradientOptions as GradientOptions
    from eap_plugin.algorithm.gradient.base import ScoringContext as ScoringContext
    from eap_plugin.algorithm.gradient.edge_scorer import EdgeScorer as EdgeScorer
    from eap_plugin.algorithm.gradient.neuron_scorer import NeuronScorer as NeuronScorer
    from eap_plugin.algorithm.gradient.scorer import Scorer as Scorer
    from eap_plugin.backend.base import Backend as Backend
    from eap_plugin.backend.freezing import frozen_modules as frozen_modules
    from eap_plugin.backend.loading import load_errors as load_errors
    from eap_plugin.backend.loading import model_path as model_path
    from eap_plugin.backend.loading import torch_dtype as torch_dtype
    from eap_plugin.backend.module_hooks import Attach as Attach
    from eap_plugin.backend.module_hooks import ValueHook as ValueHook
    from eap_plugin.backend.module_hooks import at_input as at_input
    from eap_plugin.backend.module_hooks import at_output as at_output
    from eap_plugin.backend.module_hooks import visiting as visiting
    from eap_plugin.circuits.selection.base import Selected as Selected
    from eap_plugin.circuits.selection.base import Selection as Selection
    from eap_plugin.circuits.selection.base import best as best
    from eap_plugin.circuits.selection.base import scored as scored
    from eap_plugin.circuits.selection.base import strength as strength
    from eap_plugin.data.batch import NO_ANSWER as NO_ANSWER
    from eap_plugin.data.batch import Batch as Batch
    from eap_plugin.data.microbatches import Microbatch as Microbatch
    from eap_plugin.data.prompts import Prefix as Prefix
    from eap_plugin.data.prompts import Prompts as Prompts
    from eap_plugin.errors import EapPluginError as EapPluginError
    from eap_plugin.errors import UsageError as UsageError
    from eap_plugin.host import hookimpl as hookimpl
    from eap_plugin.host.options import option as option
    from eap_plugin.interventions.backward_rules import FrozenNorms as FrozenNorms
    from eap_plugin.interventions.backward_rules import IdentityActivations as IdentityActivations
    from eap_plugin.interventions.backward_rules import halved_products as halved_products
    from eap_plugin.interventions.backward_rules import softened_softmax as softened_softmax
    from eap_plugin.interventions.backward_rules import straight_through as straight_through
    from eap_plugin.interventions.counterfactual import Ablation as Ablation
    from eap_plugin.interventions.counterfactual import Counterfactual as Counterfactual
    from eap_plugin.interventions.counterfactual import ablation_passes as ablation_passes
    from eap_plugin.interventions.edge_patching import EdgePatch as EdgePatch
    from eap_plugin.interventions.reader_inputs import heads_read as heads_read
    from eap_plugin.interventions.recording import GradientRecorder as GradientRecorder
    from eap_plugin.interventions.recording import ReaderGradients as ReaderGradients
    from eap_plugin.interventions.recording import WriterRecorder as WriterRecorder
    from eap_plugin.interventions.recording import merge as merge
    from eap_plugin.interventions.writer_outputs import Writers as Writers
    from eap_plugin.interventions.writer_outputs import all_add as all_add
    from eap_plugin.interventions.writer_outputs import heads_add as heads_add
    from eap_plugin.interventions.writer_outputs import writer_adds as writer_adds
    from eap_plugin.metric.metric import Metric as Metric
    from eap_plugin.metric.metric import difference as difference
    from eap_plugin.metric.metric import over_answers as over_answers
    from eap_plugin.model.edge_matrix import edge_mask as edge_mask
    from eap_plugin.model.edge_matrix import sum_qkv as sum_qkv
    from eap_plugin.model.graph import Graph as Graph
    from eap_plugin.model.graph import Reader as Reader
    from eap_plugin.model.layer import Layer as Layer
    from eap_plugin.model.model_info import ModelInfo as ModelInfo
    from eap_plugin.model.norm import Norm as Norm
    from eap_plugin.model.prefix import with_prefix as with_prefix
    from eap_plugin.model.residual_model import ResidualModel as ResidualModel
    from eap_plugin.model.sites import SITES as SITES
    from eap_plugin.model.sites import Site as Site
    from eap_plugin.model.sites import Visitor as Visitor
    from eap_plugin.model.sites import sites_of as sites_of
    from eap_plugin.score_format.base import Contents as Contents
    from eap_plugin.score_format.base import ScoreFormat as ScoreFormat
    from eap_plugin.task.base import TaskFormat as TaskFormat
    from eap_plugin.task.base import TaskGenerator as TaskGenerator
    from eap_plugin.task.sampling import sample_pairs as sample_pairs
    from eap_plugin.task.sampling import single_tokens as single_tokens
    from eap_plugin.task.task import PromptPair as PromptPair
    from eap_plugin.task.task import Task as Task
    from eap_plugin.task.task import encode_task as encode_task
    from eap_plugin.task.task import next_token_ids as next_token_ids

_NAMES = {
    "algorithm.base": ("Algorithm", "Attribution", "Cost", "Level", "Progress"),
    "algorithm.contrast": ("Contrast", "contrast", "mean_over"),
    "algorithm.gradient.base": ("GradientAlgorithm", "GradientOptions", "ScoringContext"),
    "algorithm.gradient.edge_scorer": ("EdgeScorer",),
    "algorithm.gradient.neuron_scorer": ("NeuronScorer",),
    "algorithm.gradient.scorer": ("Scorer",),
    "backend.base": ("Backend",),
    "backend.freezing": ("frozen_modules",),
    "backend.loading": ("load_errors", "model_path", "torch_dtype"),
    "backend.module_hooks": ("Attach", "ValueHook", "at_input", "at_output", "visiting"),
    "circuits.selection.base": ("Selected", "Selection", "best", "scored", "strength"),
    "data.batch": ("NO_ANSWER", "Batch"),
    "data.microbatches": ("Microbatch",),
    "data.prompts": ("Prefix", "Prompts"),
    "errors": ("EapPluginError", "UsageError"),
    "host": ("hookimpl",),
    "host.options": ("option",),
    "interventions.backward_rules": (
        "FrozenNorms",
        "IdentityActivations",
        "halved_products",
        "softened_softmax",
        "straight_through",
    ),
    "interventions.counterfactual": ("Ablation", "Counterfactual", "ablation_passes"),
    "interventions.edge_patching": ("EdgePatch",),
    "interventions.reader_inputs": ("heads_read",),
    "interventions.recording": ("GradientRecorder", "ReaderGradients", "WriterRecorder", "merge"),
    "interventions.writer_outputs": ("Writers", "all_add", "heads_add", "writer_adds"),
    "metric.metric": ("Metric", "difference", "over_answers"),
    "model.edge_matrix": ("edge_mask", "sum_qkv"),
    "model.graph": ("Graph", "Reader"),
    "model.layer": ("Layer",),
    "model.model_info": ("ModelInfo",),
    "model.norm": ("Norm",),
    "model.prefix": ("with_prefix",),
    "model.residual_model": ("ResidualModel",),
    "model.sites": ("SITES", "Site", "Visitor", "sites_of"),
    "score_format.base": ("Contents", "ScoreFormat"),
    "task.base": ("TaskFormat", "TaskGenerator"),
    "task.sampling": ("sample_pairs", "single_tokens"),
    "task.task": ("PromptPair", "Task", "encode_task", "next_token_ids"),
}

_HOME = homes(_NAMES)

__all__ = sorted(_HOME)

__getattr__ = loader(__name__, _HOME)


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
