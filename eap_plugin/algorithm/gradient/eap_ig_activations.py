"""Integrated gradients over each writer's own output (Marks et al. 2024, arXiv 2403.19647), layer by layer.

For each site of writers in turn (the embedding, each layer's heads, each MLP), the outputs of its writers are
interpolated from corrupt to clean, while all other writers are computed by the model as usual. The gradient at every
reader is averaged over the steps of the interpolation.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.host.options import option
from eap_plugin.interventions.interpolation import Rule, added_at, moved, only_at, places
from eap_plugin.interventions.recording import ReaderGradients
from eap_plugin.interventions.site_recorder import LayerSite
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site, Visitor


@dataclass(frozen=True)
class EAPIGActivationsOptions(GradientOptions):
    """The options of EAP-IG on activations."""

    steps: int = option(5, help="points of each interpolation at which gradients are taken", unit="steps", minimum=1)
    rule: Rule = option(
        "eap-ig",
        help="eap-ig: points without the corrupt end and with the clean end, as EAP-IG's code; midpoint: the middle of "
        "each step, which is closer to the integral",
    )
    scored: Literal["own", "all"] = option(
        "own",
        help="which edges a run scores: own: those that leave the interpolated writers; all: every edge, averaged over "
        "all runs, as EAP-IG's code does",
    )

    @property
    def corruptions(self) -> list[float]:
        """Corrupt fraction of each point, starting near the corrupt end."""
        offset = 1.0 if self.rule == "eap-ig" else 0.5
        return [1 - (step + offset) / self.steps for step in range(self.steps)]


class EAPIGActivations(GradientAlgorithm[EAPIGActivationsOptions]):
    """EAP with gradients averaged over interpolations of the embedding, each layer's heads together, and each MLP."""

    name = "eap-ig-activations"
    summary = "EAP with integrated gradients over each writer's output, layer by layer"
    reference = "Marks et al. 2024, arXiv 2403.19647"
    gradient_run = "between"
    shares_prefix = True
    options = EAPIGActivationsOptions

    def cost(self, options: EAPIGActivationsOptions, graph: Graph) -> Cost:
        """Count a forward pass on clean and on corrupt prompts, and forward and back per step and site of writers."""
        runs = options.steps * (1 + graph.n_layers * (1 + graph.has_mlp))
        return Cost(forwards=1 + options.ablation_passes + runs, backwards=runs)

    def score_microbatch(
        self, context: ScoringContext, options: EAPIGActivationsOptions
    ) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
        other, on_corrupt = context.corrupt()
        clean, logits = context.record(context.batch.clean)
        change, order = context.change(other, clean), places(context.model)
        own = options.scored == "own"
        weight = 1 / (options.steps * (1 if own else len(order)))
        for place in order:
            way = added_at(context.model, change, place)
            scored = only_at(change, place) if own else change
            cut = _readers_up_to(place, order) if own else _readers_at(place)
            points = [moved(place, corruption * way, context.start) for corruption in options.corruptions]
            context.add_all(scored, _gradients(context, points, weight, cut))
        return context.value(logits), on_corrupt


def _gradients(
    context: ScoringContext, points: Sequence[Mapping[Site, Visitor]], weight: float, cut: frozenset[LayerSite]
) -> Iterator[ReaderGradients]:
    """Run the model at each point, and yield its gradients."""
    for point in points:
        yield context.gradients(context.batch.clean, point, weight=weight, cut=cut)[0]


def _readers_at(place: LayerSite) -> frozenset[LayerSite]:
    """Return the readers whose inputs do not matter when the writers at a site are given a value."""
    sites: dict[Site, tuple[Site, ...]] = {"embed": (), "attn_out": ("q", "k", "v"), "mlp_out": ("mlp",)}
    return frozenset((site, place[1]) for site in sites[place[0]])


def _readers_up_to(place: LayerSite, order: Sequence[LayerSite]) -> frozenset[LayerSite]:
    """Return those readers for a site and for all sites before it."""
    return frozenset[LayerSite]().union(*(_readers_at(earlier) for earlier in order[: order.index(place) + 1]))
