"""Runs on several copies of a batch, with a single edge or a single writer patched in each copy.

In each copy, everything before the patched reader is computed as in the clean run. So the change of the writer is known
before the run starts, and only the input of that one reader, or the output of that one writer, is replaced.
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
    """A patched copy: its index, the row of the writer that changes, and the head that reads the change."""

    copy: int
    row: int
    head: int


class SingleEdgePatches:
    """Visitors that patch one edge in each copy of a batch."""

    def __init__(self, model: ResidualModel, change: Writers, edges: Sequence[tuple[int, int]]) -> None:
        """Prepare one run.

        Args:
            model: the model that will run on ``len(edges)`` copies of a batch, one after another.
            change: the change of every writer on the batch.
            edges: for each copy, the row and column of its patched edge.
        """
        self._model, self._change, self._n_copies = model, change, len(edges)
        self._at: dict[tuple[str, int], list[Changed]] = {}
        for copy, (row, column) in enumerate(edges):
            reader = model.graph.readers[column]
            self._at.setdefault((reader.slot, reader.layer), []).append(Changed(copy, row, reader.head))
        self._residual = SiteRecorder(latest_only=True)

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        slots = {slot for slot, _ in self._at}
        visit: dict[Site, Visitor] = {}
        for slot in ("q", "k", "v"):
            if slot in slots:
                visit |= self._residual.visitors("attn_in") | {slot: self._read_heads(slot)}
        if "mlp" in slots:
            visit |= self._residual.visitors("mlp_in") | {"mlp": self._read_mlp}
        return visit | ({"final": self._read_final} if "logits" in slots else {})

    def _patched_residual(
        self, residual: Tensor, changed: Sequence[Changed]
    ) -> Float[Tensor, "changed batch pos d_model"]:
        """Return the residual stream that the patched readers read, one for each of their copies."""
        copies = torch.unflatten(residual, 0, (self._n_copies, -1))
        return copies[[c.copy for c in changed]] + changes(self._model, self._change, changed)

    def _read_heads(self, slot: Literal["q", "k", "v"]) -> Visitor:
        def visitor(index: int, value: Tensor) -> Tensor | None:
            changed = self._at.get((slot, index))
            if changed is None:
                return None
            seen, heads = (
                self._patched_residual(self._residual.values["attn_in", index], changed),
                [c.head for c in changed],
            )
            read = heads_read(self._model.layers[index], slot, seen, heads).to(value.dtype)
            out = torch.unflatten(value.clone(), 0, (self._n_copies, -1))
            out[[c.copy for c in changed], :, :, heads] = read
            return out.flatten(0, 1)

        return visitor

    def _read_mlp(self, index: int, value: Tensor) -> Tensor | None:
        changed = self._at.get(("mlp", index))
        if changed is None:
            return None
        seen = normed(
            self._model.layers[index].mlp_norm, self._patched_residual(self._residual.values["mlp_in", index], changed)
        )
        return self._replaced(value, changed, seen)

    def _read_final(self, index: int, value: Tensor) -> Tensor | None:
        changed = self._at["logits", index]
        return self._replaced(value, changed, self._patched_residual(value, changed))

    def _replaced(self, value: Tensor, changed: Sequence[Changed], by: Tensor) -> Tensor:
        out = torch.unflatten(value.clone(), 0, (self._n_copies, -1))
        out[[c.copy for c in changed]] = by.to(value.dtype)
        return out.flatten(0, 1)


class SingleWriterPatches:
    """Visitors that patch one writer in each copy of a batch, for all of its readers."""

    def __init__(self, model: ResidualModel, change: Writers, rows: Sequence[int]) -> None:
        """Prepare one run.

        Args:
            model: the model that will run on ``len(rows)`` copies of a batch, one after another.
            change: the change of every writer on the batch.
            rows: for each copy, the row of its patched writer.
        """
        self._model, self._change, self._n_copies = model, change, len(rows)
        self._at: dict[tuple[Site, int], list[Changed]] = {}
        for copy, row in enumerate(rows):
            self._at.setdefault(_place(model, row), []).append(Changed(copy, row, 0))

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
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
    """Return the site and layer at which a writer's output is added to the residual stream."""
    sites: dict[str, Site] = {"input": "embed", "head": "attn_out", "mlp": "mlp_out"}
    writer = model.graph.writer(row)
    return sites[writer.kind], writer.layer


def changes(
    model: ResidualModel, change: Writers, changed: Sequence[Changed]
) -> Float[Tensor, "changed batch pos d_model"]:
    """Return the change of each patched copy's writer."""
    return torch.stack([writer_adds(model, change, c.row) for c in changed])
