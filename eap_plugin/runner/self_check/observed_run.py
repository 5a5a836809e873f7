"""The recording of a run that an algorithm makes, for the self-check.

The algorithm's visitors are called as usual, and what they leave at each site is recorded. Only a plain run is of use:
one whose visitors change neither a value after the embedding nor a gradient. The embedding may be replaced, as the
graph's formulas hold for any.

The gradients are those of the first backward pass that the algorithm makes, of whatever loss.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor

from eap_plugin.data.prompts import Prompts
from eap_plugin.interventions.site_recorder import LayerSite
from eap_plugin.model.sites import Site, Visitor

MOST_TOKENS = 8
"""The most tokens to compare, so that the check costs little beside scoring long prompts."""


class ObservedRun:
    """Visitors that call those of an algorithm, and record some tokens of the first prompt.

    Attributes:
        values: the values at all sites of the check, in at least float32: [1, tokens, ...].
        gradients: the gradients at its gradient sites, of the latest backward pass.
        has_prefix: whether the run continues from a prefix, so that no recorded token is the first of its prompt.
    """

    def __init__(self, prompts: Prompts, sites: Collection[Site], gradient_sites: Collection[Site]) -> None:
        """Prepare to record a run on ``prompts``: the first token of the first prompt, and its last ones."""
        real = prompts.real[0].nonzero()[:, 0]
        self._tokens = torch.cat([real[:1], real[1:][1 - MOST_TOKENS :]])
        self._sites, self._gradient_sites = sites, gradient_sites
        self.has_prefix = prompts.prefix is not None
        self._plain, self._n_wanted = True, 0
        self.values: dict[LayerSite, Tensor] = {}
        self.gradients: dict[LayerSite, Tensor] = {}

    @property
    def n_tokens(self) -> int:
        """The number of recorded tokens."""
        return len(self._tokens)

    @property
    def complete(self) -> bool:
        """Whether the run was plain, and a gradient that is finite and not zero has reached the embedding."""
        if not self._plain or not 0 < self._n_wanted == len(self.gradients):
            return False
        gradient = self.gradients["embed", 0]
        return bool(gradient.isfinite().all()) and bool(gradient.any())

    def visitors(self, visit: Mapping[Site, Visitor]) -> dict[Site, Visitor]:
        """Return the visitors of the run, given those of the algorithm."""
        return {site: self._visitor(site, visit.get(site)) for site in {*visit, *self._sites}}

    def _visitor(self, site: Site, visit: Visitor | None) -> Visitor:
        def visitor(layer: int, value: Tensor) -> Tensor:
            version, new = value._version, None if visit is None else visit(layer, value)
            left = value if new is None else new
            unchanged = left is value and value._version == version
            if left._backward_hooks or not (unchanged or site == "embed"):
                self._plain = False
            self._record(site, layer, left)
            return left

        return visitor

    def _record(self, site: Site, layer: int, value: Tensor) -> None:
        if site in self._sites:
            self.values[site, layer] = self._kept(value)
        if site in self._gradient_sites:
            self._n_wanted += 1
            if value.requires_grad:
                value.register_hook(self._hook(site, layer))  # type: ignore[no-untyped-call]

    def _hook(self, site: Site, layer: int) -> Callable[[Tensor], None]:
        def hook(gradient: Tensor) -> None:
            if site == "final":  # the first site that a backward pass reaches
                self.gradients.clear()
            self.gradients[site, layer] = self._kept(gradient)

        return hook

    def _kept(self, x: Tensor) -> Tensor:
        return x.detach()[0, self._tokens][None].to(torch.promote_types(x.dtype, torch.float32))
