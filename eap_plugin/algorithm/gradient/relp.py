"""Relevance patching (Jafari et al. 2025, arXiv 2508.21258): EAP with coefficients of layer-wise relevance propagation.

Every rule of relevance propagation used here makes a part of the network linear around the run, and what is propagated
is that linear network's gradient: input · gradient is relevance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.backward_rules import FrozenNorms, IdentityActivations, constant_pattern
from eap_plugin.interventions.recording import merge


@dataclass(frozen=True)
class RelPOptions(GradientOptions):
    """What can be chosen."""

    attention: Literal["gradient", "constant"] = option(
        "gradient",
        help="attention patterns: their gradient, or constants (the AH-rule, for which edges into q and k score zero)",
    )


class RelP(GradientAlgorithm[RelPOptions]):
    """EAP with the LN-rule at norms, the identity rule at activations and the half-rule at gates."""

    name = "relp"
    summary = "relevance patching: layer-wise relevance propagation in place of gradients"
    reference = "Jafari et al. 2025, arXiv 2508.21258"
    gradient_run = "clean"
    options = RelPOptions

    def score_microbatch(self, context: ScoringContext, options: RelPOptions) -> tuple[float, float | None]:
        """See ``GradientAlgorithm.score_microbatch``."""
        attention = constant_pattern() if options.attention == "constant" else {}
        activations = IdentityActivations(context.model).visitors()
        norms = FrozenNorms(context.model, context.batch.last).visitors()
        return context.add_clean_run(merge(attention, activations, norms), frozen_norms=True)
