"""Relevance patching (Jafari et al. 2025, arXiv 2508.21258): EAP with coefficients of layer-wise relevance propagation.

Each propagation rule used here replaces a part of the network by a linear map with the same output on this run. The
coefficients are the gradient of the resulting linear network, and relevance is input · gradient.
``eap_plugin.interventions.backward_rules`` has the rules.
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
    """The options of RelP."""

    attention: Literal["gradient", "constant"] = option(
        "gradient",
        help="attention patterns: gradient keeps their gradient; constant (the AH-rule) scores edges into q and k zero",
    )


class RelP(GradientAlgorithm[RelPOptions]):
    """EAP with the LN-rule for norms, the identity rule for activations and the half-rule for gates."""

    name = "relp"
    summary = "relevance patching: layer-wise relevance propagation in place of gradients"
    reference = "Jafari et al. 2025, arXiv 2508.21258"
    gradient_run = "clean"
    shares_prefix = True
    options = RelPOptions

    def score_microbatch(self, context: ScoringContext, options: RelPOptions) -> tuple[float, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        attention = constant_pattern() if options.attention == "constant" else {}
        activations = IdentityActivations(context.model).visitors()
        norms = FrozenNorms(context.model, context.batch.last - context.batch.n_prefix).visitors()
        return context.add_clean_run(merge(attention, activations, norms), frozen_norms=True)
