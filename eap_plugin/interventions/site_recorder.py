"""Recording of the values at any sites, as they are in the run."""

from __future__ import annotations

from torch import Tensor

from eap_plugin.model.sites import Site, Visitor

LayerSite = tuple[Site, int]
"""A site and the layer that it is in."""


class SiteRecorder:
    """Visitors that keep the values at sites, with their autograd graph.

    Attributes:
        values: by site and layer.
    """

    def __init__(self, latest_only: bool = False) -> None:
        """Start with nothing; with ``latest_only``, a layer's value is dropped when the next layer's comes."""
        self.values: dict[LayerSite, Tensor] = {}
        self._latest_only = latest_only

    def visitors(self, *sites: Site) -> dict[Site, Visitor]:
        """Visitors of these sites."""
        return {site: self._visitor(site) for site in sites}

    def _visitor(self, site: Site) -> Visitor:
        def visitor(layer: int, value: Tensor) -> None:
            if self._latest_only:
                self.values.pop((site, layer - 1), None)
            self.values[site, layer] = value

        return visitor
