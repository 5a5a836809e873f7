"""Activation patching itself, one edge or one writer at a time: what the other methods estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Progress
from eap_plugin.algorithm.contrast import contrast, mean_over
from eap_plugin.algorithm.patching.single_patches import SingleEdgePatches, SingleWriterPatches
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.host.options import option
from eap_plugin.interventions.counterfactual import Ablation, Counterfactual, ablation_passes
from eap_plugin.interventions.workspace import workspace
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.metric.metric import Metric
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel

_BLOCK = 32
"""About how many times the size of the residual stream all activations of a block are."""


@dataclass(frozen=True)
class ExactOptions:
    """What can be chosen."""

    level: Literal["edge", "node"] = option("edge", help="patch edges, or all that a writer adds (node)")
    ablation: Ablation = option(
        "corrupt", help="what a writer is changed to: its value on the corrupt prompt, zero, or a mean"
    )
    edges_per_pass: int | None = option(
        None,
        help="how many edges or writers to patch in one run, each in its own copy of the prompts; none: what memory "
        "and caches take",
        unit="edges",
        minimum=1,
    )


class Exact(Algorithm[ExactOptions]):
    """The metric on the clean prompts, less that with one edge patched; no estimate."""

    name = "exact"
    summary = "activation patching, one edge at a time: what other methods estimate"
    reference = "Vig et al. 2020, arXiv 2004.12265; edges: Goldowsky-Dill et al. 2023, arXiv 2304.05969"
    options = ExactOptions

    def cost(self, options: ExactOptions, graph: Graph) -> Cost:
        """One pass for each edge or writer, however many share a run, and those on clean and corrupt prompts."""
        targets = len(graph.sources) if options.level == "node" else graph.n_edges
        return Cost(forwards=1 + ablation_passes(options.ablation) + targets, backwards=0)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: ExactOptions,
        progress: Progress,
    ) -> Attribution:
        """See ``Algorithm.attribute``."""
        kind, targets = _targets(model.graph, options.level)
        counterfactual = Counterfactual(model, data, options.ablation)
        effects = torch.zeros(len(targets), dtype=model.score_dtype)
        metrics = []
        for piece in data:
            run = contrast(model, piece, metric, counterfactual)
            change = run.other.minus(run.clean)
            size = options.edges_per_pass or _fitting(model, change)
            for start in range(0, len(targets), size):
                part = targets[start : start + size]
                values = _metrics(model, run.batch, metric, kind(model, change, part), len(part))
                for index, value in enumerate(values, start):
                    effects[index] += piece.share * (run.metrics.clean - value)
                progress(len(part) / len(targets))
            metrics.append(run.metrics)
        matrix = effects if options.level == "node" else _as_edges(model.graph, targets, effects)
        return Attribution(model.graph, matrix, *mean_over(metrics), options.level)


def _targets(graph: Graph, level: str) -> tuple[type[SingleEdgePatches] | type[SingleWriterPatches], Sequence[Any]]:
    """What is patched, and how: each writer's row, or each edge's row and column."""
    if level == "node":
        return SingleWriterPatches, range(len(graph.sources))
    return SingleEdgePatches, [
        (row, column) for column, reader in enumerate(graph.readers) for row in range(reader.n_upstream)
    ]


def _as_edges(
    graph: Graph, edges: Sequence[tuple[int, int]], effects: Float[Tensor, "edges"]
) -> Float[Tensor, "sources readers"]:
    matrix = effects.new_zeros(len(graph.sources), len(graph.readers))
    rows, columns = zip(*edges, strict=True)
    matrix[list(rows), list(columns)] = effects
    return matrix


def _fitting(model: ResidualModel, run: Writers) -> int:
    """How many copies to run at a time: as many as have a block's activations fit in the workspace, at least one."""
    fitting = workspace(run.embed.device) // (_BLOCK * run.embed.numel())
    return 1 if model.run_constraints.whole_batches else max(1, fitting)


def _metrics(
    model: ResidualModel, batch: Batch, metric: Metric, patch: SingleEdgePatches | SingleWriterPatches, n_copies: int
) -> list[float]:
    """The metric on each of some copies of a batch, run together."""
    with torch.no_grad():
        logits = model.forward(batch.clean_prompts.repeat(n_copies), patch.visitors())
        return [float(metric(part, batch)) for part in torch.split(logits, len(batch))]
