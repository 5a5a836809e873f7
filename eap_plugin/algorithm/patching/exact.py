"""Activation patching of one edge or one writer at a time, which the gradient methods approximate.

The score of an edge is metric(clean) − metric(clean, with this edge alone patched). Several edges share one run: each
has its own copy of the prompts, in which it alone is patched (``single_patches``).
"""

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
"""Approximate size of all activations of one block, in multiples of the residual stream."""


@dataclass(frozen=True)
class ExactOptions:
    """The options of exact patching."""

    level: Literal["edge", "node"] = option("edge", help="what to patch: edges, or a writer's whole output (node)")
    ablation: Ablation = option(
        "corrupt", help="what replaces a writer's output: its value on the corrupt prompt, zero, or a mean"
    )
    edges_per_pass: int | None = option(
        None,
        help="edges or writers that share one run, each patched in its own copy of the prompts; none: as many as fit "
        "in memory or caches",
        unit="edges",
        minimum=1,
    )


class Exact(Algorithm[ExactOptions]):
    """The exact change of the metric when one edge, or one writer, is patched."""

    name = "exact"
    summary = "activation patching of one edge at a time, without approximation"
    reference = "Vig et al. 2020, arXiv 2004.12265; edges: Goldowsky-Dill et al. 2023, arXiv 2304.05969"
    shares_prefix = True
    options = ExactOptions

    def cost(self, options: ExactOptions, graph: Graph) -> Cost:
        """Count a forward pass per edge or writer, and those on clean and corrupt prompts."""
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
        """Score every edge; see ``Algorithm.attribute``."""
        kind, targets = _targets(model.graph, options.level)
        counterfactual = Counterfactual(model, data, options.ablation)
        effects = torch.zeros(len(targets), dtype=model.score_dtype)
        metrics = []
        for piece in data:
            run = contrast(model, piece, metric, counterfactual)
            change = run.other.minus(run.clean)
            size = options.edges_per_pass or _copies_per_run(model, change)
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
    """Return the kind of patch and its targets: the row of each writer, or row and column of each edge."""
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


def _copies_per_run(model: ResidualModel, run: Writers) -> int:
    """Return the number of copies for which a block's activations fit in the workspace, but at least one."""
    fitting = workspace(run.embed.device) // (_BLOCK * run.embed.numel())
    return 1 if model.run_constraints.whole_batches else max(1, fitting)


def _metrics(
    model: ResidualModel, batch: Batch, metric: Metric, patch: SingleEdgePatches | SingleWriterPatches, n_copies: int
) -> list[float]:
    """Run copies of a batch together, each with its own patch, and return the metric on each copy."""
    with torch.no_grad():
        logits = model.forward(batch.clean_prompts.repeat(n_copies), patch.visitors())
        return [float(metric(part, batch)) for part in torch.split(logits, len(batch))]
