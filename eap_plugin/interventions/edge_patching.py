"""Runs with patched edges: some readers see some writers as they were in another run.

    r_v = residual stream + Σ_u patch[u, v] · (c_u[other run] − c_u[this run])

This is activation patching of edges, in one forward pass for any set of them.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import UsageError
from eap_plugin.interventions.reader_inputs import heads_read
from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.interventions.writer_outputs import Writers, heads_add, scaled_z
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


class EdgePatch:
    """Visitors that patch edges towards another run of the same shape."""

    def __init__(self, model: ResidualModel, other: Writers, patch: Float[Tensor, "sources readers"]) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            other: the writers of the other run.
            patch: for each edge how far to go from this run (0) to the other (1); may ask for a gradient.

        Raises:
            UsageError: if the patch has another shape than the model's edges.
        """
        self._model, self._graph, self._other = model, model.graph, other
        expected = [len(self._graph.sources), len(self._graph.readers)]
        if list(patch.shape) != expected:
            raise UsageError(
                f"edges of {model.name} are a [sources={expected[0]}, readers={expected[1]}] matrix with q, k and v "
                f"apart, got {list(patch.shape)}"
            )
        self._patch = patch.to(other.embed)
        self._change: dict[int, Tensor] = {}  # by the row of the first of some writers, [sources, batch, pos, d_model]
        self._columns = {(r.slot, r.layer): c for c, r in reversed(list(enumerate(self._graph.readers)))}
        self._residual = SiteRecorder(latest_only=True)

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        visit: dict[Site, Visitor] = {
            "embed": self._on_embed,
            **self._residual.visitors("attn_in"),
            "q": self._read_heads("q"),
            "k": self._read_heads("k"),
            "v": self._read_heads("v"),
            "z": self._on_z,
            "final": self._read_final,
        }
        if self._graph.has_mlp:
            visit |= self._residual.visitors("mlp_in") | {"mlp": self._read_mlp, "mlp_out": self._on_mlp_out}
        return visit

    def _on_embed(self, layer: int, value: Tensor) -> None:
        self._change[0] = (self._other.embed - value)[None]

    def _on_z(self, index: int, value: Tensor) -> None:
        layer = self._model.layers[index]
        change = self._other.z[index] - scaled_z(layer, value)
        self._change[self._graph.head_row(index)] = heads_add(layer, change.to(self._patch.dtype))

    def _on_mlp_out(self, layer: int, value: Tensor) -> None:
        self._change[self._graph.mlp_row(layer)] = (self._other.mlp[layer] - value)[None]

    def _shift(self, column: int, count: int) -> Float[Tensor, "readers batch pos d_model"] | None:
        """What patching adds to the residual stream as ``count`` readers see it; ``None`` for nothing."""
        cut = self._graph.readers[column].n_upstream
        shift: Tensor | None = None
        for row, change in self._change.items():
            patch = self._patch[row : row + len(change), column : column + count]
            if row < cut and (patch.requires_grad or bool(patch.any())):
                part = torch.einsum("sr,sbpd->rbpd", patch, change)
                shift = part if shift is None else shift + part
        return shift

    def _read_heads(self, slot: Literal["q", "k", "v"]) -> Visitor:
        def visitor(index: int, value: Tensor) -> Tensor | None:
            shift = self._shift(self._columns[slot, index], value.shape[2])
            if shift is None:
                return None
            read = heads_read(
                self._model.layers[index], slot, self._residual.values["attn_in", index] + shift, slice(None)
            )
            return read.movedim(0, 2).to(value.dtype)

        return visitor

    def _read_mlp(self, index: int, value: Tensor) -> Tensor | None:
        shift = self._shift(self._columns["mlp", index], 1)
        if shift is None:
            return None
        return normed(self._model.layers[index].mlp_norm, self._residual.values["mlp_in", index] + shift[0]).to(
            value.dtype
        )

    def _read_final(self, layer: int, value: Tensor) -> Tensor | None:
        shift = self._shift(len(self._graph.readers) - 1, 1)
        return None if shift is None else value + shift[0]
