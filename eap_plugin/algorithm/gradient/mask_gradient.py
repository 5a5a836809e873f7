"""The gradient with respect to edge masks (AutoCircuit's ``mask_gradient_prune_scores``), at one value or integrated.

Every edge has a mask, which interpolates between its writer's output in this run (0) and in the other run (1). All
masks have the same value, and an edge's score is the gradient of minus the metric with respect to its mask.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.algorithm.gradient.uniform_edge_mask import UniformEdgeMask
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.metric.answers import AnswerFunction, answer_metric
from eap_plugin.model.graph import Graph


@dataclass(frozen=True)
class MaskGradientOptions(GradientOptions):
    """The options of mask gradients."""

    mask: float = option(
        0.0, help="value of all masks when the gradient is taken: 0 is clean, 1 ablated", minimum=0, maximum=1
    )
    samples: int = option(
        0,
        help="if not 0, integrate: take the mean over mask values 0, 1/samples, ..., 1",
        unit="steps between masks",
        minimum=0,
    )
    grad_function: Literal["metric", "logit", "prob", "logprob", "logit_exp"] = option(
        "metric", help="quantity to differentiate: the metric, or this function of the answers' logits"
    )
    answer_function: AnswerFunction = option(
        "avg_diff",
        help="how to combine grad_function's values: avg_diff: right minus wrong answers; avg_val: right ones alone; "
        "mse: minus the mean squared distance from 1 at right answers and 0 elsewhere",
    )

    def without_effect(self) -> dict[str, str]:
        """Return the options that have no effect; see ``eap_plugin.host.options``."""
        idle = GradientOptions.without_effect(self)
        if self.samples:
            idle["mask"] = "samples is not 0"
        if self.grad_function == "metric":
            idle["answer_function"] = "grad_function is metric"
        elif self.answer_function != "avg_diff":
            idle["answer_diff"] = f"answer_function is {self.answer_function}"
        return idle

    @property
    def masks(self) -> list[float]:
        """The mask values."""
        return [i / self.samples for i in range(self.samples + 1)] if self.samples else [self.mask]


class MaskGradient(GradientAlgorithm[MaskGradientOptions]):
    """The gradient with respect to edge masks that interpolate between this run and the other."""

    name = "mask-gradient"
    summary = "gradient with respect to edge masks, at one mask value or integrated"
    reference = "Miller et al. 2024, arXiv 2407.08734 (AutoCircuit)"
    gradient_run = "between"
    shares_prefix = True
    options = MaskGradientOptions

    def cost(self, options: MaskGradientOptions, graph: Graph) -> Cost:
        """Count one forward pass on the corrupt prompts, and a forward and backward pass per mask value."""
        runs = len(options.masks)
        return Cost(forwards=options.ablation_passes + runs, backwards=runs)

    def on_clean(self, options: MaskGradientOptions) -> bool:
        """Return whether the metric's gradient is taken with all masks at 0."""
        return options.masks == [0] and options.grad_function == "metric"

    def score_microbatch(
        self, context: ScoringContext, options: MaskGradientOptions
    ) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        corrupt, on_corrupt = context.corrupt()
        other, judged = context.target(corrupt), context
        if options.grad_function != "metric":
            judged = replace(context, metric=answer_metric(options.grad_function, options.answer_function))
        on_clean = None
        for mask in options.masks:
            mixture, this = (
                UniformEdgeMask(context.model, other, mask, context.start),
                WriterRecorder(context.model, context.start),
            )
            gradients, value = judged.gradients(
                context.batch.clean, mixture.visitors(), this.visitors(), weight=1 / len(options.masks)
            )
            context.add(other.minus(this.writers()), mixture.at_readers(gradients))
            if mask == 0 and judged is context:
                on_clean = value
        return on_clean, on_corrupt
