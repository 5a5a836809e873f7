"""ACDC (Conmy et al. 2023, arXiv 2304.14997): greedy removal of edges that hardly affect the metric.

1. Start at the logits and go backwards through the readers; for each reader, go backwards through its writers.
2. Patch the edge, in addition to all edges that were already removed, and run the clean prompts.
3. If this lowers the metric by less than a threshold, the edge is removed and stays patched. Otherwise it is restored.

The search is repeated for several thresholds. An edge's score is the smallest threshold at which it is removed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Progress
from eap_plugin.algorithm.contrast import Contrast, contrast, mean_over
from eap_plugin.data.microbatches import Microbatch, mean_by_share
from eap_plugin.errors import UsageError
from eap_plugin.host.options import option
from eap_plugin.interventions.circuit_patch import CircuitPatch
from eap_plugin.interventions.counterfactual import Ablation, Counterfactual, ablation_passes
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel


@dataclass(frozen=True)
class ACDCOptions:
    """The options of ACDC."""

    ablation: Ablation = option(
        "corrupt", help="what replaces a writer's output: its value on the corrupt prompt, zero, or a mean"
    )
    lowest: float = option(0.001, help="smallest threshold", unit="of the metric", minimum=1e-12)
    highest: float = option(1.0, help="largest threshold", unit="of the metric", minimum=1e-12)
    thresholds: int = option(
        4,
        help="how many to try, equally spaced on a log scale; 1 tries highest alone",
        unit="thresholds",
        minimum=1,
    )

    def without_effect(self) -> dict[str, str]:
        """Return the options that have no effect; see ``eap_plugin.host.options``."""
        return {"lowest": "thresholds is 1"} if self.thresholds == 1 else {}


class ACDC(Algorithm[ACDCOptions]):
    """Scores that are removal thresholds; an edge that is never removed has twice the largest threshold."""

    name = "acdc"
    summary = "greedy removal of edges, from the logits backwards: each edge's threshold"
    reference = "Conmy et al. 2023, arXiv 2304.14997"
    sign = "never negative: the threshold at which the edge is removed"
    additive = False
    shares_prefix = True
    options = ACDCOptions

    def cost(self, options: ACDCOptions, graph: Graph) -> Cost:
        """Count a forward pass per edge and threshold, and those on clean and corrupt prompts."""
        passes = options.thresholds * graph.n_edges
        return Cost(forwards=1 + ablation_passes(options.ablation) + passes, backwards=0)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: ACDCOptions,
        progress: Progress,
    ) -> Attribution:
        """Score every edge; see ``Algorithm.attribute``.

        Raises:
            UsageError: if ``lowest`` is above ``highest``.
        """
        if options.lowest > options.highest:
            raise UsageError(
                f"acdc option 'lowest' must be at most 'highest', got {options.lowest} and {options.highest}"
            )
        counterfactual = Counterfactual(model, data, options.ablation)
        runs = [contrast(model, piece, metric, counterfactual) for piece in data]
        step = len(data) / (options.thresholds * model.graph.n_edges)
        scores = 2 * options.highest * edge_mask(model.graph)
        for threshold in _thresholds(options):
            scores[_removed(model, runs, metric, threshold, lambda: progress(step))] = threshold
        return Attribution(model.graph, scores, *mean_over([run.metrics for run in runs]))


def _thresholds(options: ACDCOptions) -> list[float]:
    """Return the thresholds, largest first."""
    last = max(1, options.thresholds - 1)
    return [options.highest * (options.lowest / options.highest) ** (i / last) for i in range(options.thresholds)]


def _removed(
    model: ResidualModel, runs: Sequence[Contrast], metric: Metric, threshold: float, progress: Callable[[], None]
) -> Bool[Tensor, "sources readers"]:
    """Search with one threshold, and return a boolean matrix that is true at the removed edges."""
    graph = model.graph
    patch = torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool, device=model.device)
    before, _ = mean_over([run.metrics for run in runs])
    for column in reversed(range(len(graph.readers))):
        for row in reversed(range(graph.readers[column].n_upstream)):
            patch[row, column] = True
            after = _patched(model, runs, metric, patch)
            if before - after < threshold:
                before = after
            else:
                patch[row, column] = False
            progress()
    return patch.cpu()


def _patched(
    model: ResidualModel, runs: Sequence[Contrast], metric: Metric, patch: Bool[Tensor, "sources readers"]
) -> float:
    """Return the metric with some edges patched, averaged over batches."""
    values = []
    for run in runs:
        visit = CircuitPatch(model, model.graph, run.other, patch, keep=False).visitors()
        with torch.no_grad():
            logits = model.forward(run.batch.clean_prompts, visit)
            values.append(float(metric(logits, run.batch)))
    return mean_by_share(values, [run.metrics.share for run in runs])
