"""EAP-GP (Zhang et al. 2025, arXiv 2502.06852): gradients along a path that leads to the corrupt run's output."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import GradientRecorder, WriterRecorder, merge
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site, Visitor


@dataclass(frozen=True)
class EAPGPOptions(GradientOptions):
    """What can be chosen."""

    steps: int = option(
        5, help="how many steps the path has, each to a point at which gradients are taken", unit="steps", minimum=1
    )
    length: float = option(
        1.0, help="how far a step goes, over all of a prompt's embeddings together", unit="L2 norm", minimum=0
    )


class EAPGP(GradientAlgorithm[EAPGPOptions]):
    """The mean gradient along a path from the clean embeddings down the distance to the corrupt run's logits."""

    name = "eap-gp"
    summary = "EAP along a gradient-guided path from the clean embeddings to the corrupt run's logits"
    reference = "Zhang et al. 2025, arXiv 2502.06852"
    gradient_run = "between"
    options = EAPGPOptions

    def cost(self, options: EAPGPOptions, graph: Graph) -> Cost:
        """One forward pass on either prompt, and one forward and two back for each step."""
        return Cost(forwards=2 + options.mean_passes + options.steps, backwards=2 * options.steps)

    def score_microbatch(self, context: ScoringContext, options: EAPGPOptions) -> tuple[float | None, float | None]:
        """See ``GradientAlgorithm.score_microbatch``."""
        corrupt, target = context.record(context.batch.corrupt)
        path, clean = _Path(target, options.length), WriterRecorder(context.model, context.start)
        logits = context.forward(context.batch.clean, merge(clean.visitors(), path.visitors()))
        change, on_clean = context.change(corrupt, clean.writers()), context.value(logits)
        for _ in range(options.steps):
            path.step(logits)
            recorder = GradientRecorder(context.model, context.start)
            logits = context.forward(context.batch.clean, merge(recorder.visitors(), path.visitors()))
            loss = -context.share / options.steps * context.metric(logits, context.batch)
            context.add(change, recorder.gradients(loss, keep_graph=True))
        return on_clean, context.value(target)


class _Path:
    """Where the path is: embeddings that the run is given, from its own on."""

    def __init__(self, target: Float[Tensor, "batch vocab"], length: float) -> None:
        """Begin where the next run begins; each step goes ``length`` towards a run with the logits ``target``."""
        self._target, self._length = target.to(torch.promote_types(target.dtype, torch.float32)), length
        self._point: Tensor | None = None

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        return {"embed": self._on_embed}

    def _on_embed(self, layer: int, value: Tensor) -> Tensor:
        self._point = (value if self._point is None else self._point).detach().requires_grad_()
        return self._point

    def step(self, logits: Float[Tensor, "batch vocab"]) -> None:
        """Go on from the point of the run that gave these logits."""
        assert self._point is not None
        distance = (logits.to(self._target.dtype) - self._target).pow(2).sum()
        (slope,) = torch.autograd.grad(distance, self._point)
        size = slope.flatten(1).norm(dim=1).clamp_min(torch.finfo(slope.dtype).tiny)
        self._point = self._point - self._length * slope / size[:, None, None]
