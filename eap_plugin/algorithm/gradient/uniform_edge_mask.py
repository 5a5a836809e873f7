"""Runs in which every edge is interpolated by the same amount between this run and another, with gradients.

    r_v = residual stream + mask · Σ_{u before v} (c_u[other run] − c_u[this run])

Because the mask is the same for every edge, all readers at one site read the same values, and no per-head copies are
needed: the sum of the changes is kept as writers run, and added to what each attention layer, MLP and final norm reads.
The residual stream itself is not modified.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.interventions.recording import ReaderGradients
from eap_plugin.interventions.writer_outputs import Writers, output_weight, scaled_z
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


class UniformEdgeMask:
    """Visitors of one run in which every edge has the same mask."""

    def __init__(self, model: ResidualModel, other: Writers, mask: float, start: int = 0) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            other: the outputs of the writers in the other run, from position ``start`` on.
            mask: the interpolation of every edge from this run (0) to the other (1).
            start: the first position at which the runs differ.
        """
        self._model, self._other, self._mask, self._start = model, other, mask, start
        self._change = torch.zeros(())
        self._before_attention = self._change
        self._read: dict[Site, list[Tensor]] = {"attn_in": [], "mlp_in": []}

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        visit: dict[Site, Visitor] = {
            "embed": self._on_embed,
            "attn_in": self._on_attn_in,
            "attn": self._read_attention,
            "z": self._on_z,
            "final": self._read_final,
        }
        if self._model.graph.has_mlp:
            visit |= {"mlp_in": self._on_mlp_in, "mlp": self._read_mlp, "mlp_out": self._on_mlp_out}
        return visit

    def at_readers(self, gradients: ReaderGradients) -> ReaderGradients:
        """Return the gradients with the interpolated values as the inputs of attention and MLPs."""
        attn_in, mlp_in = ([x.detach()[:, self._start :] for x in self._read[site]] for site in ("attn_in", "mlp_in"))
        return replace(gradients, attn_in=attn_in, mlp_in=mlp_in)

    def _on_embed(self, layer: int, value: Tensor) -> None:
        self._change = self._other.embed - value[:, self._start :]

    def _on_z(self, index: int, value: Tensor) -> None:
        layer = self._model.layers[index]
        z = self._other.z[index] - scaled_z(layer, value[:, self._start :])
        self._change = self._change + z.flatten(2) @ output_weight(layer).flatten(0, 1).to(z.dtype)

    def _on_mlp_out(self, layer: int, value: Tensor) -> None:
        self._change = self._change + self._other.mlp[layer] - value[:, self._start :]

    def _on_attn_in(self, layer: int, value: Tensor) -> None:
        self._before_attention = self._change
        self._read["attn_in"].append(self._interpolated(value, self._change))

    def _on_mlp_in(self, layer: int, value: Tensor) -> None:
        change = self._before_attention if self._model.graph.parallel else self._change
        self._read["mlp_in"].append(self._interpolated(value, change))

    def _interpolated(
        self, value: Float[Tensor, "batch pos d_model"], change: Float[Tensor, "batch later d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        return torch.cat([value[:, : self._start], value[:, self._start :] + self._mask * change], 1)

    def _read_attention(self, layer: int, value: Tensor) -> Tensor:
        return normed(self._model.layers[layer].attn_norm, self._read["attn_in"][layer]).to(value.dtype)

    def _read_mlp(self, layer: int, value: Tensor) -> Tensor:
        return normed(self._model.layers[layer].mlp_norm, self._read["mlp_in"][layer]).to(value.dtype)

    def _read_final(self, layer: int, value: Tensor) -> Tensor:
        return self._interpolated(value, self._change).to(value.dtype)
