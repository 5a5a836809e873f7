"""Gradient Interaction Modifications (Edin et al. 2025, arXiv 2505.17630): EAP with three modified backward rules.

The derivative of attention's softmax is taken at a higher temperature, norms have constant scales, and each factor of a
product gets half of its gradient. ``eap_plugin.interventions.backward_rules`` has the rules.
"""

from __future__ import annotations

from dataclasses import dataclass

from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.backward_rules import FrozenNorms, halved_products, softened_softmax
from eap_plugin.interventions.recording import merge


@dataclass(frozen=True)
class GIMOptions(GradientOptions):
    """The options of GIM."""

    temperature: float = option(
        2.0, help="temperature of attention's softmax in the backward pass; 1 leaves it unchanged", minimum=1
    )
    freeze_norms: bool = option(True, help="hold the scales of layer and RMS norms constant in the backward pass")
    halve_products: bool = option(
        True,
        help="halve the gradient of each factor of query · key, pattern · value and a gated MLP's gate · linear",
    )


class GIM(GradientAlgorithm[GIMOptions]):
    """EAP with backward rules that counter the self-repair of softmax, norms and products."""

    name = "gim"
    summary = "EAP with softened softmax, frozen norms and halved products in the backward pass"
    reference = "Edin et al. 2025, arXiv 2505.17630"
    gradient_run = "clean"
    shares_prefix = True
    options = GIMOptions

    def score_microbatch(self, context: ScoringContext, options: GIMOptions) -> tuple[float, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        rules = []
        if options.halve_products:
            rules.append(halved_products(context.model))
        if options.temperature != 1:
            rules.append(softened_softmax(options.temperature))
        if options.freeze_norms:
            rules.append(FrozenNorms(context.model, context.batch.last - context.batch.n_prefix).visitors())
        return context.add_clean_run(merge(*rules), frozen_norms=options.freeze_norms)
