"""Clean-corrupted (Hanna, Pezzelle & Belinkov 2024, arXiv 2403.17806): EAP with gradients on both runs."""

from __future__ import annotations

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.model.graph import Graph


class CleanCorrupted(GradientAlgorithm[GradientOptions]):
    """EAP with the mean of the gradients on the clean and on the corrupt prompts."""

    name = "clean-corrupted"
    summary = "EAP with the mean of the gradients on the clean and corrupt prompts"
    reference = "Hanna et al. 2024, arXiv 2403.17806"
    gradient_run = "between"
    shares_prefix = True
    options = GradientOptions

    def cost(self, options: GradientOptions, graph: Graph) -> Cost:
        """Count one forward and one backward pass on each of the clean and the corrupt prompts."""
        return Cost(forwards=2 + options.mean_passes, backwards=2)

    def score_microbatch(self, context: ScoringContext, options: GradientOptions) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        corrupt, clean = WriterRecorder(context.model, context.start), WriterRecorder(context.model, context.start)
        at_corrupt, on_corrupt = context.gradients(context.batch.corrupt, corrupt.visitors(), weight=0.5)
        at_clean, on_clean = context.gradients(context.batch.clean, clean.visitors(), weight=0.5)
        change = context.change(corrupt.writers(), clean.writers())
        context.add(change, at_corrupt, at_clean)
        return on_clean, on_corrupt
