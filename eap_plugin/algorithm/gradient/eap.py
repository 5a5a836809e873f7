"""Edge Attribution Patching (Syed, Rager & Conmy 2023, arXiv 2310.10348), gradient on the clean run."""

from __future__ import annotations

from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext


class EAP(GradientAlgorithm[GradientOptions]):
    """First-order scores of all edges, from two forward passes and one backward pass."""

    name = "eap"
    summary = "Edge Attribution Patching: first-order effect of corrupting each edge"
    reference = "Syed et al. 2023, arXiv 2310.10348"
    gradient_run = "clean"
    shares_prefix = True
    options = GradientOptions

    def score_microbatch(self, context: ScoringContext, options: GradientOptions) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        return context.add_clean_run({})
