"""EAP-GP (Zhang et al. 2025, arXiv 2502.06852): EAP with gradients along a path guided by gradients.

The path starts at the clean embeddings. Each step follows the gradient that decreases the squared distance between the
run's logits and those of the corrupt run:

    x₀ = clean,   x_{j+1} = x_j − length · g / ‖g‖,   g = ∂/∂x_j ‖logits(x_j) − logits(corrupt)‖²

The gradient of the metric is averaged over the points x₁, ..., x_steps. docs/algorithms.md says which parts of this
definition are not in the paper's text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import GradientRecorder, ReaderGradients, WriterRecorder, merge
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site, Visitor


@dataclass(frozen=True)
class EAPGPOptions(GradientOptions):
    """The options of EAP-GP."""

    steps: int = option(5, help="points of the path at which gradients are taken", unit="steps", minimum=1)
    length: float = option(
        1.0, help="length of a step, over all of a prompt's embeddings together", unit="L2 norm", minimum=0
    )


class EAPGP(GradientAlgorithm[EAPGPOptions]):
    """EAP with the mean gradient along a path from the clean embeddings towards the corrupt run's logits."""

    name = "eap-gp"
    summary = "EAP along a gradient-guided path from the clean embeddings to the corrupt run's logits"
    reference = "Zhang et al. 2025, arXiv 2502.06852"
    gradient_run = "between"
    options = EAPGPOptions

    def cost(self, options: EAPGPOptions, graph: Graph) -> Cost:
        """Count a forward pass on clean and on corrupt prompts, and one forward and two backward passes per step."""
        return Cost(forwards=2 + options.mean_passes + options.steps, backwards=2 * options.steps)

    def score_microbatch(self, context: ScoringContext, options: EAPGPOptions) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        corrupt, target = context.record(context.batch.corrupt)
        path, clean = _Path(target, options.length), WriterRecorder(context.model, context.start)
        logits = context.forward(context.batch.clean, merge(clean.visitors(), path.visitors()))
        change, on_clean = context.change(corrupt, clean.writers()), context.value(logits)
        context.add_all(change, path.gradients(context, logits, options.steps))
        return on_clean, context.value(target)


class _Path:
    """The current point of the path, and visitors that run the model on it."""

    def __init__(self, target: Float[Tensor, "batch vocab"], length: float) -> None:
        """Start at the embeddings of the next run; steps have L2 norm ``length`` and approach the logits ``target``."""
        self._target, self._length = target.to(torch.promote_types(target.dtype, torch.float32)), length
        self._point: Tensor | None = None

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        return {"embed": self._on_embed}

    def _on_embed(self, layer: int, value: Tensor) -> Tensor:
        self._point = (value if self._point is None else self._point).detach().requires_grad_()
        return self._point

    def gradients(
        self, context: ScoringContext, logits: Float[Tensor, "batch vocab"], steps: int
    ) -> Iterator[ReaderGradients]:
        """Go on from the run with these logits, and yield the gradients at each point, weighted for their mean."""
        for _ in range(steps):
            self.step(logits)
            recorder = GradientRecorder(context.model, context.start)
            logits = context.forward(context.batch.clean, merge(recorder.visitors(), self.visitors()))
            loss = -context.share / steps * context.metric(logits, context.batch)
            yield recorder.gradients(loss, keep_graph=True)

    def step(self, logits: Float[Tensor, "batch vocab"]) -> None:
        """Move one step from the current point, given the logits of the run on it."""
        assert self._point is not None
        distance = (logits.to(self._target.dtype) - self._target).pow(2).sum()
        (slope,) = torch.autograd.grad(distance, self._point)
        size = slope.flatten(1).norm(dim=1).clamp_min(torch.finfo(slope.dtype).tiny)
        self._point = self._point - self._length * slope / size[:, None, None]
