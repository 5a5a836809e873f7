"""Runs on copies of a batch, of which each has one edge or one writer of its own changed.

In such a copy everything before the change is as in the plain run. What a writer changes by is therefore known before
the run, and only the one reader, or the one place, has to be computed apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.interventions.reader_inputs import heads_read
from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.interventions.writer_outputs import Writers, writer_adds
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


class Changed(NamedTuple):
    """Copies that are changed at one place: which, by which writer's change, and for which head's reading."""

    copy: int
    row: int
    head: int


class SingleEdgePatches:
    """Visitors that patch one edge in each copy."""

    def __init__(self, model: ResidualModel, change: Writers, edges: Sequence[tuple[int, int]]) -> None:
        """Prepare one run.

        Args:
            model: the model that will run on ``len(edges)`` copies of a batch, one after another.
            change: how much every writer changes on the batch.
            edges: row and column of the edge that each copy has patched.
        """
        self._model, self._change, self._n_copies = model, change, len(edges)
        self._at: dict[tuple[str, int], list[Changed]] = {}
        for copy, (row, column) in enumerate(edges):
            reader = model.graph.readers[column]
            self._at.setdefault((reader.slot, reader.layer), []).append(Changed(copy, row, reader.head))
        self._residual = SiteRecorder(latest_only=True)

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        slots = {slot for slot, _ in self._at}
        visit: dict[Site, Visitor] = {}
        for slot in ("q", "k", "v"):
            if slot in slots:
                visit |= self._residual.visitors("attn_in") | {slot: self._read_heads(slot)}
        if "mlp" in slots:
            visit |= self._residual.visitors("mlp_in") | {"mlp": self._read_mlp}
        return visit | ({"final": self._read_final} if "logits" in slots else {})

    def _seen(self, residual: Tensor, changed: Sequence[Changed]) -> Float[Tensor, "changed batch pos d_model"]:
        """The residual stream as the changed readers see it."""
        copies = torch.unflatten(residual, 0, (self._n_copies, -1))
        return copies[[c.copy for c in changed]] + changes(self._model, self._change, changed)

    def _read_heads(self, slot: Literal["q", "k", "v"]) -> Visitor:
        def visitor(index: int, value: Tensor) -> Tensor | None:
            changed = self._at.get((slot, index))
            if changed is None:
                return None
            seen, heads = self._seen(self._residual.values["attn_in", index], changed), [c.head for c in changed]
            read = heads_read(self._model.layers[index], slot, seen, heads).to(value.dtype)
            out = torch.unflatten(value.clone(), 0, (self._n_copies, -1))
            out[[c.copy for c in changed], :, :, heads] = read
            return out.flatten(0, 1)

        return visitor

    def _read_mlp(self, index: int, value: Tensor) -> Tensor | None:
        changed = self._at.get(("mlp", index))
        if changed is None:
            return None
        seen = normed(self._model.layers[index].mlp_norm, self._seen(self._residual.values["mlp_in", index], changed))
        return self._replaced(value, changed, seen)

    def _read_final(self, index: int, value: Tensor) -> Tensor | None:
        changed = self._at["logits", index]
        return self._replaced(value, changed, self._seen(value, changed))

    def _replaced(self, value: Tensor, changed: Sequence[Changed], by: Tensor) -> Tensor:
        out = torch.unflatten(value.clone(), 0, (self._n_copies, -1))
        out[[c.copy for c in changed]] = by.to(value.dtype)
        return out.flatten(0, 1)


class SingleWriterPatches:
    """Visitors that change what one writer adds in each copy, whoever reads it."""

    def __init__(self, model: ResidualModel, change: Writers, rows: Sequence[int]) -> None:
        """Prepare one run; as for ``SingleEdgePatches``, with the row of the writer that each copy has changed."""
        self._model, self._change, self._n_copies = model, change, len(rows)
        self._at: dict[tuple[Site, int], list[Changed]] = {}
        for copy, row in enumerate(rows):
            self._at.setdefault(_place(model, row), []).append(Changed(copy, row, 0))

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        return {site: self._add(site) for site, _ in self._at}

    def _add(self, site: Site) -> Visitor:
        def visitor(index: int, value: Tensor) -> Tensor | None:
            changed = self._at.get((site, index))
            if changed is None:
                return None
            out = torch.unflatten(value.clone(), 0, (self._n_copies, -1))
            out[[c.copy for c in changed]] += changes(self._model, self._change, changed).to(value.dtype)
            return out.flatten(0, 1)

        return visitor


def _place(model: ResidualModel, row: int) -> tuple[Site, int]:
    """Where what a writer adds can be changed."""
    sites: dict[str, Site] = {"input": "embed", "head": "attn_out", "mlp": "mlp_out"}
    writer = model.graph.writer(row)
    return sites[writer.kind], writer.layer


def changes(
    model: ResidualModel, change: Writers, changed: Sequence[Changed]
) -> Float[Tensor, "changed batch pos d_model"]:
    """What each copy's writer changes by."""
    return torch.stack([writer_adds(model, change, c.row) for c in changed])
