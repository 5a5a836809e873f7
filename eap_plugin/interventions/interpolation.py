"""Interpolation of writers' outputs between two runs, at the sites where they are added to the residual stream."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.interventions.site_recorder import LayerSite
from eap_plugin.interventions.writer_outputs import Writers, output_weight
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor

Rule = Literal["eap-ig", "midpoint"]
"""The points at which an integral over the line is evaluated: those of EAP-IG's code, or the middle of each step."""


def places(model: ResidualModel) -> list[LayerSite]:
    """List the sites where writers add to the residual stream: the embedding, then each layer's heads and MLP."""
    found: list[LayerSite] = [("embed", 0)]
    for layer in range(model.graph.n_layers):
        found.append(("attn_out", layer))
        if model.graph.has_mlp:
            found.append(("mlp_out", layer))
    return found


def added_at(model: ResidualModel, writers: Writers, place: LayerSite) -> Float[Tensor, "batch pos d_model"]:
    """Return the sum of what the writers at a site add to the residual stream."""
    site, index = place
    if site == "embed":
        return writers.embed
    if site == "mlp_out":
        return writers.mlp[index]
    weight, z = output_weight(model.layers[index]), writers.z[index]
    return z.flatten(2) @ weight.flatten(0, 1).to(z.dtype)


def only_at(writers: Writers, place: LayerSite) -> Writers:
    """Return the outputs of the writers at one site, with those of all other writers set to zero."""
    return Writers(
        writers.embed if place == ("embed", 0) else torch.zeros_like(writers.embed),
        [z if place == ("attn_out", i) else torch.zeros_like(z) for i, z in enumerate(writers.z)],
        [x if place == ("mlp_out", i) else torch.zeros_like(x) for i, x in enumerate(writers.mlp)],
    )


def moved(place: LayerSite, by: Float[Tensor, "batch later d_model"], start: int) -> dict[Site, Visitor]:
    """Return a visitor that adds ``by`` to the output of the writers at a site.

    The result is detached, so no gradient flows into these writers.

    Args:
        place: the site and its layer.
        by: what to add, at the positions from ``start`` on.
        start: the first position that changes.
    """
    site, index = place

    def visitor(layer: int, value: Tensor) -> Tensor | None:
        if layer != index:
            return None
        new = value.detach().clone()
        new[:, start:] += by.to(new.dtype)
        return new

    return {site: visitor}
