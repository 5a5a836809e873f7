"""Activation patching of edges: some readers receive the outputs that some writers had in another run.

Each reader v reads, in place of the residual stream,

    r_v = residual stream + Σ_u patch[u, v] · (c_u[other run] − c_u[this run])

where c_u is what writer u adds to the residual stream. One forward pass patches any set of edges:

1. As each writer runs, its change c_u[other run] − c_u[this run] is computed and kept.
2. In front of each reader, the changes of earlier writers are weighted by the reader's column of ``patch`` and added to
   the residual stream. The reader's norm and projection are applied to the sum, and the result replaces the value at
   the reader's site (q, k, v, the MLP's input or the final norm's input). The residual stream itself is not modified,
   so other readers are not affected.
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
    """Visitors that patch edges with the writers of another run on prompts of the same shape."""

    def __init__(self, model: ResidualModel, other: Writers, patch: Float[Tensor, "sources readers"]) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            other: the writers of the other run.
            patch: for each edge, the interpolation from this run (0) to the other (1); may require a gradient.

        Raises:
            UsageError: if the shape of ``patch`` is not that of the model's edge matrix.
        """
        self._model, self._graph, self._other = model, model.graph, other
        expected = [len(self._graph.sources), len(self._graph.readers)]
        if list(patch.shape) != expected:
            raise UsageError(
                f"a patch of {model.name} must be a [sources={expected[0]}, readers={expected[1]}] matrix with "
                f"separate q, k and v readers, got {list(patch.shape)}"
            )
        self._patch = patch.to(other.embed)
        self._change: dict[int, Tensor] = {}  # by first row of a group of writers, [sources, batch, pos, d_model]
        self._columns = {(r.slot, r.layer): c for c, r in reversed(list(enumerate(self._graph.readers)))}
        self._residual = SiteRecorder(latest_only=True)

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
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
        """Return what patching adds to the input of ``count`` readers, from ``column`` on; ``None`` if nothing."""
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
