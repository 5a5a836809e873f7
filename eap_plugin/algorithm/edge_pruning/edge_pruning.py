"""Edge Pruning (Bhaskar et al. 2024, arXiv 2406.16778): a gate on every edge, trained to be shut where it can be.

Patched runs in which each edge goes as far to the other run as its gate is shut; gates are hard concrete, drawn anew at
each step. What is minimized is how far the metric is from the unchanged model's, and how many gates are open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Progress
from eap_plugin.algorithm.contrast import Contrast, contrast, mean_over
from eap_plugin.algorithm.edge_pruning.checkpoint import load_checkpoint, save_checkpoint
from eap_plugin.algorithm.edge_pruning.gate_training import GateOptions, GateTraining
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.data.prompt_digest import prompt_digest
from eap_plugin.host.options import option
from eap_plugin.interventions.counterfactual import Ablation, Counterfactual, ablation_passes
from eap_plugin.interventions.edge_patching import EdgePatch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel


@dataclass(frozen=True)
class EdgePruningOptions(GateOptions):
    """What can be chosen."""

    ablation: Ablation = option(
        "corrupt", help="what a writer is changed to: its value on the corrupt prompt, zero, or a mean"
    )
    checkpoint: str | None = option(
        None, help="a file to keep the training in, and to go on from if it is there; not for remote runs"
    )
    checkpoint_every: int = option(50, help="how often to write it", unit="steps", minimum=1)

    def without_effect(self) -> dict[str, str]:
        """See ``eap_plugin.host.options``."""
        idle = GateOptions.without_effect(self)
        return idle if self.checkpoint else idle | {"checkpoint_every": "checkpoint is none"}


class EdgePruning(Algorithm[EdgePruningOptions]):
    """Scores are the probabilities that trained gates are open: 1 for an edge to keep, 0 for one to do without."""

    name = "edge-pruning"
    summary = "trained gates on all edges at once: the probability that each is open"
    reference = "Bhaskar et al. 2024, arXiv 2406.16778; subnetwork probing: Cao et al. 2021, arXiv 2104.03514"
    gradient_run = "between"
    sign = "never negative: the probability that the edge is kept"
    additive = False
    local_options = ("checkpoint",)
    options = EdgePruningOptions

    def cost(self, options: EdgePruningOptions, graph: Graph) -> Cost:
        """One pass and back for each step, fewer if it stops early, and those on clean and corrupt prompts."""
        return Cost(forwards=1 + ablation_passes(options.ablation) + options.steps, backwards=options.steps)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: EdgePruningOptions,
        progress: Progress,
    ) -> Attribution:
        """See ``Algorithm.attribute``.

        Raises:
            UsageError: if the checkpoint is of another run.
        """
        is_edge = edge_mask(model.graph)
        counterfactual = Counterfactual(model, data, options.ablation)
        runs = [contrast(model, piece, metric, counterfactual) for piece in data]
        training = GateTraining(int(is_edge.sum()), options)
        about = _about(model, runs, metric, options)
        kept = None if options.checkpoint is None else load_checkpoint(options.checkpoint, about)
        if kept is not None:
            training.load_state(kept)
        step = len(data) / options.steps
        progress(step * training.n_steps)
        while not training.finished:
            training.step(*_loss(model, runs, metric, is_edge, training.draw()))
            progress(step)
            if options.checkpoint is not None and training.n_steps % options.checkpoint_every == 0:
                save_checkpoint(options.checkpoint, training.state(), about)
        if options.checkpoint is not None:
            save_checkpoint(options.checkpoint, training.state(), about)
        progress(step * (options.steps - training.n_steps))
        matrix = torch.zeros(is_edge.shape, dtype=torch.float64)
        matrix[is_edge] = training.open_probability
        return Attribution(model.graph, matrix, *mean_over([run.metrics for run in runs]))


def _loss(
    model: ResidualModel,
    runs: Sequence[Contrast],
    metric: Metric,
    is_edge: Tensor,
    gates: Float[Tensor, "edges"],
) -> tuple[float, Float[Tensor, "edges"]]:
    """How far the metric is from the unchanged model's, averaged over batches, and the gradient at the gates."""
    loss, gradient = 0.0, torch.zeros_like(gates)
    for run in runs:
        patch = torch.zeros(is_edge.shape, dtype=gates.dtype)
        patch[is_edge] = 1 - gates
        patch = patch.to(model.device).requires_grad_()
        visit = EdgePatch(model, run.other, patch).visitors()
        value = metric(model.forward(run.batch.clean_prompts, visit), run.batch)
        distance = run.metrics.share * (run.metrics.clean - value).abs()
        (found,) = torch.autograd.grad(distance, patch)
        loss += float(distance.detach())
        gradient -= found.cpu()[is_edge]
    total = sum(run.metrics.share for run in runs)
    return loss / total, gradient / total


def _about(
    model: ResidualModel, runs: Sequence[Contrast], metric: Metric, options: EdgePruningOptions
) -> dict[str, object]:
    """What tells one run's checkpoint from another's; that may have been stopped at another step."""
    names = ("ablation", "learning_rate", "sparsity", "warmup", "penalty", "seed")
    chosen = {name: getattr(options, name) for name in names}
    return {
        "model": model.name,
        "graph": model.graph.to_dict(),
        "metric": metric.name,
        "data": prompt_digest(run.batch for run in runs),
        **chosen,
    }
