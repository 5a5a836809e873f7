"""Integrated gradients of each writer's own activation (Marks et al. 2024, arXiv 2403.19647), layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.interpolation import Rule, added_at, moved, only_at, places
from eap_plugin.interventions.site_recorder import LayerSite
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site


@dataclass(frozen=True)
class EAPIGActivationsOptions(GradientOptions):
    """What can be chosen."""

    steps: int = option(5, help="points of each line at which gradients are taken", unit="steps", minimum=1)
    rule: Rule = option(
        "eap-ig",
        help="which points: after the corrupt end and up to the clean end (eap-ig), or the middle of each step, "
        "nearer to the integral (midpoint)",
    )
    scored: Literal["own", "all"] = option(
        "own",
        help="what a run with changed writers scores: the edges that leave them (own), or every edge, averaged over "
        "all runs, as EAP-IG's code does (all)",
    )

    @property
    def corruptions(self) -> list[float]:
        """How much of each point is corrupt, from the corrupt end on."""
        offset = 1.0 if self.rule == "eap-ig" else 0.5
        return [1 - (step + offset) / self.steps for step in range(self.steps)]


class EAPIGActivations(GradientAlgorithm[EAPIGActivationsOptions]):
    """Writers move on a straight line from corrupt to clean: the embedding, each layer's heads together, each MLP."""

    name = "eap-ig-activations"
    summary = "EAP with integrated gradients: each writer's activation interpolated, layer by layer"
    reference = "Marks et al. 2024, arXiv 2403.19647"
    gradient_run = "between"
    options = EAPIGActivationsOptions

    def cost(self, options: EAPIGActivationsOptions, graph: Graph) -> Cost:
        """One forward pass on either prompt, and one forward and back for each step of each place of writers."""
        runs = options.steps * (1 + graph.n_layers * (1 + graph.has_mlp))
        return Cost(forwards=1 + options.ablation_passes + runs, backwards=runs)

    def score_microbatch(
        self, context: ScoringContext, options: EAPIGActivationsOptions
    ) -> tuple[float | None, float | None]:
        """See ``GradientAlgorithm.score_microbatch``."""
        other, on_corrupt = context.corrupt()
        clean, logits = context.record(context.batch.clean)
        change, order = context.change(other, clean), places(context.model)
        own = options.scored == "own"
        weight = 1 / (options.steps * (1 if own else len(order)))
        for place in order:
            way = added_at(context.model, change, place)
            scored = only_at(change, place) if own else change
            cut = _before(place, order) if own else _into(place)
            for corruption in options.corruptions:
                point = moved(place, corruption * way, context.start)
                gradients, _ = context.gradients(context.batch.clean, point, weight=weight, cut=cut)
                context.add(scored, gradients)
        return context.value(logits), on_corrupt


def _into(place: LayerSite) -> frozenset[LayerSite]:
    """The readers of the writers at a place: what they read is lost where these are given a value."""
    sites: dict[Site, tuple[Site, ...]] = {"embed": (), "attn_out": ("q", "k", "v"), "mlp_out": ("mlp",)}
    return frozenset((site, place[1]) for site in sites[place[0]])


def _before(place: LayerSite, order: Sequence[LayerSite]) -> frozenset[LayerSite]:
    """The readers of these writers and of all that come before."""
    return frozenset[LayerSite]().union(*(_into(earlier) for earlier in order[: order.index(place) + 1]))
