"""EAP-IG (Hanna, Pezzelle & Belinkov 2024, arXiv 2403.17806): gradients on interpolated embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.interpolation import Rule, moved
from eap_plugin.model.graph import Graph


@dataclass(frozen=True)
class EAPIGInputsOptions(GradientOptions):
    """The options of EAP-IG on inputs."""

    steps: int = option(5, help="points of the interpolation at which gradients are taken", unit="steps", minimum=1)
    rule: Rule = option(
        "eap-ig",
        help="eap-ig: points with the corrupt end and without the clean end, as EAP-IG's code; midpoint: the middle of "
        "each step, which is closer to the integral",
    )

    @property
    def corruptions(self) -> list[float]:
        """Corrupt fraction of each point, starting at the corrupt end."""
        offset = 0.0 if self.rule == "eap-ig" else 0.5
        return [1 - (step + offset) / self.steps for step in range(self.steps)]


class EAPIGInputs(GradientAlgorithm[EAPIGInputsOptions]):
    """EAP with the mean gradient over embeddings interpolated from corrupt to clean."""

    name = "eap-ig-inputs"
    summary = "EAP with integrated gradients: input embeddings interpolated from corrupt to clean"
    reference = "Hanna et al. 2024, arXiv 2403.17806"
    gradient_run = "between"
    shares_prefix = True
    options = EAPIGInputsOptions

    def cost(self, options: EAPIGInputsOptions, graph: Graph) -> Cost:
        """Count a forward pass on clean and on corrupt prompts, and one forward and backward pass per step."""
        return Cost(forwards=1 + options.ablation_passes + options.steps, backwards=options.steps)

    def score_microbatch(
        self, context: ScoringContext, options: EAPIGInputsOptions
    ) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        other, on_corrupt = context.corrupt()
        clean, logits = context.record(context.batch.clean)
        change = context.change(other, clean)
        points = (moved(("embed", 0), corruption * change.embed, context.start) for corruption in options.corruptions)
        weight = 1 / options.steps
        context.add_all(change, (context.gradients(context.batch.clean, point, weight=weight)[0] for point in points))
        return context.value(logits), on_corrupt
