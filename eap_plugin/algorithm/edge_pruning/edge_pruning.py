"""Edge Pruning (Bhaskar et al. 2024, arXiv 2406.16778): a trained gate on every edge.

1. Run the clean prompts, and the corrupt prompts or a mean for the ablation, once.
   Every gate starts at the same value, or, with ``start``, at one that follows from the edge's rank in other scores.
2. At each training step, sample a hard concrete gate in [0, 1] for every edge, and run the clean prompts with each edge
   interpolated to its ablated value: a gate of 1 (open) keeps the edge, a gate of 0 (closed) ablates it.
3. Take the gradient of the loss with respect to the gates. The loss is the distance of the metric from the unmodified
   model's, plus a penalty on the number of open gates.
4. Update the gates' parameters with Adam (``gate_training``).
5. After the last step, an edge's score is the probability that its gate is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import cast

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
    """The options of Edge Pruning."""

    ablation: Ablation = option(
        "corrupt", help="what replaces a writer's output: its value on the corrupt prompt, zero, or a mean"
    )
    start: str | None = option(
        None,
        help="file of scores to start from: gates of edges of large absolute score start open, the others the more "
        "closed the weaker; none: all start open",
    )
    checkpoint: str | None = option(
        None, help="file to save the training state in, and to resume from if it exists; not for remote runs"
    )
    checkpoint_every: int = option(50, help="interval between checkpoints", unit="steps", minimum=1)

    def without_effect(self) -> dict[str, str]:
        """Return the options that have no effect; see ``eap_plugin.host.options``."""
        idle = GateOptions.without_effect(self)
        return idle if self.checkpoint else idle | {"checkpoint_every": "checkpoint is none"}


class EdgePruning(Algorithm[EdgePruningOptions]):
    """Scores that are probabilities of trained gates to be open: 1 for an edge to keep, 0 for one to prune."""

    name = "edge-pruning"
    summary = "gates on all edges, trained together: the probability that each is open"
    reference = "Bhaskar et al. 2024, arXiv 2406.16778; subnetwork probing: Cao et al. 2021, arXiv 2104.03514"
    gradient_run = "between"
    sign = "never negative: the probability that the edge is kept"
    score_unit = "probability"
    additive = False
    shares_prefix = True
    depends_on_split = True
    score_options = ("start",)
    local_options = ("checkpoint",)
    options = EdgePruningOptions

    def cost(self, options: EdgePruningOptions, graph: Graph) -> Cost:
        """Count a forward and backward pass per step (at most), and those on clean and corrupt prompts."""
        return Cost(forwards=1 + ablation_passes(options.ablation) + options.steps, backwards=options.steps)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: EdgePruningOptions,
        progress: Progress,
    ) -> Attribution:
        """Score every edge; see ``Algorithm.attribute``.

        Raises:
            UsageError: if the checkpoint belongs to another run.
        """
        is_edge = edge_mask(model.graph)
        counterfactual = Counterfactual(model, data, options.ablation)
        runs = [contrast(model, piece, metric, counterfactual) for piece in data]
        training = GateTraining(int(is_edge.sum()), options)
        start = cast("Tensor | None", options.start)  # the scores, not the name of their file; see ``score_options``
        if start is not None:
            training.start_from(start[is_edge])
        about = _run_identity(model, runs, metric, options, start)
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
    """Return the distance of the metric from the unmodified model's, averaged over batches, and its gradient."""
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


def _run_identity(
    model: ResidualModel,
    runs: Sequence[Contrast],
    metric: Metric,
    options: EdgePruningOptions,
    start: Float[Tensor, "sources readers"] | None,
) -> dict[str, object]:
    """Return what a checkpoint and a run must agree on to resume; the number of steps may differ."""
    names = ("ablation", "learning_rate", "sparsity", "warmup", "penalty", "seed")
    chosen = {name: getattr(options, name) for name in names}
    return {
        "model": model.name,
        "graph": model.graph.to_dict(),
        "metric": metric.name,
        "data": prompt_digest(run.batch for run in runs),
        "start": None if start is None else sha256(start.double().numpy().tobytes()).hexdigest(),
        **chosen,
    }
