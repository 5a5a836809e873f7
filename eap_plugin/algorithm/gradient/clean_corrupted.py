"""Clean-corrupted (Hanna, Pezzelle & Belinkov 2024, arXiv 2403.17806): the gradients at both ends."""

from __future__ import annotations

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, Work
from eap_plugin.interventions.recording import WriterTape
from eap_plugin.model.graph import Graph


class CleanCorrupted(GradientAlgorithm[GradientOptions]):
    """The mean of the gradients on the clean and on the corrupt prompts, times what writers change."""

    name = "clean-corrupted"
    summary = "EAP with the mean of the gradients on clean and on corrupt prompts"
    reference = "Hanna et al. 2024, arXiv 2403.17806"
    gradient_run = "between"
    options = GradientOptions

    def cost(self, options: GradientOptions, graph: Graph) -> Cost:
        """One forward pass and one back on either prompt."""
        return Cost(forwards=2 + options.mean_passes, backwards=2)

    def add(self, work: Work, options: GradientOptions) -> tuple[float | None, float | None]:
        """See ``GradientAlgorithm.add``."""
        corrupt, clean = WriterTape(work.model, work.start), WriterTape(work.model, work.start)
        at_corrupt, on_corrupt = work.gradients(work.batch.corrupt, corrupt.visitors(), weight=0.5)
        at_clean, on_clean = work.gradients(work.batch.clean, clean.visitors(), weight=0.5)
        change = work.change(corrupt.writers(), clean.writers())
        work.add(change, at_corrupt)
        work.add(change, at_clean)
        return on_clean, on_corrupt
