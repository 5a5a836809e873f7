"""Recording of the values at any sites of a run."""

from __future__ import annotations

from torch import Tensor

from eap_plugin.model.sites import Site, Visitor

LayerSite = tuple[Site, int]
"""A site and its layer."""


class SiteRecorder:
    """Visitors that record the values at sites, still attached to the autograd graph.

    Attributes:
        values: the recorded values, by site and layer.
    """

    def __init__(self, latest_only: bool = False) -> None:
        """Start empty; with ``latest_only``, a layer's value is dropped as soon as the next layer's is recorded."""
        self.values: dict[LayerSite, Tensor] = {}
        self._latest_only = latest_only

    def visitors(self, *sites: Site) -> dict[Site, Visitor]:
        """Return visitors that record these sites."""
        return {site: self._visitor(site) for site in sites}

    def _visitor(self, site: Site) -> Visitor:
        def visitor(layer: int, value: Tensor) -> None:
            if self._latest_only:
                self.values.pop((site, layer - 1), None)
            self.values[site, layer] = value

        return visitor
