"""The gradient of edge masks (AutoCircuit's ``mask_gradient_prune_scores``), at one mask value or integrated."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient import GradientAlgorithm, GradientOptions, Work
from eap_plugin.graph import Graph
from eap_plugin.host.options import option
from eap_plugin.metric.answers import AnswerFunction, answer_metric
from eap_plugin.mixing import EdgeMixture
from eap_plugin.tapes import WriterTape


@dataclass(frozen=True)
class MaskGradientOptions(GradientOptions):
    """What can be chosen."""

    mask: float = option(
        0.0, help="mask of all edges at which the gradient is taken: 0 clean, 1 ablated", minimum=0, maximum=1
    )
    samples: int = option(
        0,
        help="if not 0, integrate instead: the mean over masks 0, 1/samples, ..., 1",
        unit="steps between masks",
        minimum=0,
    )
    grad_function: Literal["metric", "logit", "prob", "logprob", "logit_exp"] = option(
        "metric", help="what to take the gradient of: the metric, or these values of the answers"
    )
    answer_function: AnswerFunction = option(
        "avg_diff",
        help="unless the metric is taken: right answers less wrong ones, right ones alone, or minus the mean squared "
        "distance from 1 at right answers and 0 elsewhere",
    )

    def without_effect(self) -> dict[str, str]:
        """See ``eap_plugin.host.options``."""
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
    """Each edge's mask mixes what its writer adds on this run and on the other; the score is its gradient."""

    name = "mask-gradient"
    summary = "gradient of edge masks, at any mask value or integrated over them"
    reference = "Miller et al. 2024, arXiv 2407.08734 (AutoCircuit)"
    gradient_run = "between"
    options = MaskGradientOptions

    def cost(self, options: MaskGradientOptions, graph: Graph) -> Cost:
        """One forward pass on the corrupt prompts, and for each mask value one forward and back on the clean ones."""
        runs = len(options.masks)
        return Cost(forwards=options.ablation_passes + runs, backwards=runs)

    def on_clean(self, options: MaskGradientOptions) -> bool:
        """Whether no edge is ablated at all."""
        return options.masks == [0] and options.grad_function == "metric"

    def add(self, work: Work, options: MaskGradientOptions) -> tuple[float | None, float | None]:
        """See ``GradientAlgorithm.add``."""
        corrupt, on_corrupt = work.corrupt()
        other, judged = work.target(corrupt), work
        if options.grad_function != "metric":
            judged = replace(work, metric=answer_metric(options.grad_function, options.answer_function))
        on_clean = None
        for mask in options.masks:
            mixture, this = EdgeMixture(work.model, other, mask, work.start), WriterTape(work.model, work.start)
            gradients, value = judged.gradients(
                work.batch.clean, mixture.visitors(), this.visitors(), weight=1 / len(options.masks)
            )
            work.add(other.minus(this.writers()), mixture.at_readers(gradients))
            if mask == 0 and judged is work:
                on_clean = value
        return on_clean, on_corrupt
