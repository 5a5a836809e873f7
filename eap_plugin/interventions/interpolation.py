"""Values on the straight line between two runs, put where a writer adds to the residual stream."""

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
"""Which points of the line stand for it: those that EAP-IG's code takes, or the middle of each step."""


def places(model: ResidualModel) -> list[LayerSite]:
    """Where writers add to the residual stream, in order: the embedding, then each layer's heads, and its MLP."""
    found: list[LayerSite] = [("embed", 0)]
    for layer in range(model.graph.n_layers):
        found.append(("attn_out", layer))
        if model.graph.has_mlp:
            found.append(("mlp_out", layer))
    return found


def added_at(model: ResidualModel, writers: Writers, place: LayerSite) -> Float[Tensor, "batch pos d_model"]:
    """What the writers at a place add together."""
    site, index = place
    if site == "embed":
        return writers.embed
    if site == "mlp_out":
        return writers.mlp[index]
    weight, z = output_weight(model.layers[index]), writers.z[index]
    return z.flatten(2) @ weight.flatten(0, 1).to(z.dtype)


def only_at(writers: Writers, place: LayerSite) -> Writers:
    """The writers at a place as they are, and zero for all others."""
    return Writers(
        writers.embed if place == ("embed", 0) else torch.zeros_like(writers.embed),
        [z if place == ("attn_out", i) else torch.zeros_like(z) for i, z in enumerate(writers.z)],
        [x if place == ("mlp_out", i) else torch.zeros_like(x) for i, x in enumerate(writers.mlp)],
    )


def moved(place: LayerSite, by: Float[Tensor, "batch later d_model"], start: int) -> dict[Site, Visitor]:
    """Visitors that add something to what a place's writers add, from position ``start`` on, and let no gradient in."""
    site, index = place

    def visitor(layer: int, value: Tensor) -> Tensor | None:
        if layer != index:
            return None
        new = value.detach().clone()
        new[:, start:] += by.to(new.dtype)
        return new

    return {site: visitor}
