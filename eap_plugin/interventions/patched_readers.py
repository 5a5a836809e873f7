"""The inputs of readers whose edges are patched: the residual stream plus a sum of changes of writers.

Each reader v with a patched edge reads, in place of the residual stream x of its site,

    r_v = x + Σ_u edge[u, v] · change_u

The inputs of all of a layer's readers are computed together (``writer_changes``), for some tokens at a time. The
readers' norms and projections are applied to the sums, and the results replace the values at the sites. Readers without
a patched edge keep the model's own values.

With one k and one v reader for each query head of a group, the model runs on as many copies of the prompts as a group
has heads. Copy i has, at k and v, what the i-th query head of each group reads; each head's output is taken from its
own copy, and every copy gets the result, so that all copies have the same residual stream.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.interventions.reader_inputs import heads_read
from eap_plugin.interventions.workspace import Buffers
from eap_plugin.interventions.writer_changes import WriterChanges, as_slice
from eap_plugin.model.graph import Graph
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor

Slot = Literal["q", "k", "v"]
_HEADS: tuple[Slot, ...] = ("q", "k", "v")


class PatchedReaders:
    """The readers of one run, which read the changes of writers in addition to the residual stream; as visitors.

    Attributes:
        changes: the changes of writers, to which each is to be added as it is computed.
        copies: the number of copies of the prompts that must be run.
    """

    def __init__(
        self,
        model: ResidualModel,
        graph: Graph,
        edges: Bool[Tensor, "sources readers"],
        neurons: Bool[Tensor, "sources d_model"] | None,
        like: Float[Tensor, "batch pos d_model"],
        start: int = 0,
        buffers: Buffers | None = None,
    ) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            graph: the model's graph, or the same with one k and one v reader for each query head.
            edges: the edges along which changes of writers flow.
            neurons: the dimensions of each writer's change that flow; all if ``None``.
            like: a tensor of the shape and dtype of a change.
            start: the first position at which changes are not zero.
            buffers: memory that earlier runs have used.
        """
        self.changes = WriterChanges(model.layers, graph, edges, neurons, like, buffers or Buffers())
        self._layers, self._graph, self._start = model.layers, graph, start
        self.copies = graph.n_kv_heads // model.graph.n_kv_heads
        self._columns: dict[tuple[str, int], list[int]] = {}  # of readers with a patched edge
        for column in edges.any(0).nonzero().flatten().tolist():
            reader = graph.readers[column]
            self._columns.setdefault((reader.slot, reader.layer), []).append(column)
        self._values: dict[Slot, Tensor] = {}
        self._mlp_shift: Tensor | None = None
        self._mlp_in, self._dtype = like, like.dtype

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        slots = {slot for slot, _ in self._columns}
        visit: dict[Site, Visitor] = {}
        if slots & set(_HEADS):
            visit["attn_in"] = self._read_attention
        visit |= {slot: self._place_heads(slot) for slot in _HEADS if slot in slots}
        if "mlp" in slots:
            visit |= {"mlp_in": self._keep_mlp_in, "mlp": self._read_mlp}
        return visit | ({"final": self._read_final} if "logits" in slots else {})

    def _read_attention(self, index: int, value: Tensor) -> None:
        """Compute the queries, keys and values of heads with a patched edge; and what earlier layers add to the MLP."""
        found = {slot: self._columns[slot, index] for slot in _HEADS if (slot, index) in self._columns}
        if not found:
            return
        residual, first = self.own(value), self._graph.head_row(index)
        mlp = self._columns.get(("mlp", index), [])
        columns = [column for slot in found for column in found[slot]]
        tokens = residual.flatten(0, 1)
        read: dict[Slot, list[Tensor]] = {slot: [] for slot in found}
        shifts = []
        for part in self.changes.pieces(len(columns + mlp)):
            sums = tokens.new_empty(len(columns + mlp), *tokens[part].shape, dtype=self._dtype)
            sums[: len(columns)] = tokens[part]
            sums[len(columns) :] = 0
            self.changes.add_to(sums, columns + mlp, 0, first, part)
            shifts.append(sums[len(columns) :].clone())
            inputs = torch.split(sums[: len(columns)], [len(found[slot]) for slot in found])
            for slot, some in zip(found, inputs, strict=True):
                split = self.copies if slot in "kv" else 1
                heads = [self._graph.readers[column].head // split for column in found[slot]]
                read[slot].append(heads_read(self._layers[index], slot, some[:, None], as_slice(heads)))
        self._values = {
            slot: torch.unflatten(torch.cat(parts, 2)[:, 0], 1, residual.shape[:2]) for slot, parts in read.items()
        }
        self._mlp_shift = torch.cat(shifts, 1).view_as(residual) if mlp else None

    def _place_heads(self, slot: Slot) -> Visitor:
        def visitor(index: int, value: Tensor) -> Tensor | None:
            if (slot, index) not in self._columns:
                return None
            read = self._values.pop(slot).to(value.dtype)
            split = self.copies if slot in "kv" else 1
            new = torch.unflatten(value.clone(), 0, (self.copies, -1))
            for column, one in zip(self._columns[slot, index], read, strict=True):
                head = self._graph.readers[column].head
                copies = slice(None) if split == 1 else head % split
                new[copies, ..., self._start :, head // split, :] = one
            return new.flatten(0, 1)

        return visitor

    def _keep_mlp_in(self, layer: int, value: Tensor) -> None:
        self._mlp_in = value

    def _read_mlp(self, index: int, value: Tensor) -> Tensor | None:
        columns = self._columns.get(("mlp", index), [])
        if not columns:
            return None
        shift, self._mlp_shift = self._mlp_shift, None
        residual, last = self.own(self._mlp_in), self._graph.readers[columns[0]].n_upstream
        first = 0 if shift is None else self._graph.head_row(index)
        inputs = self._added(residual if shift is None else residual + shift, columns, first, last)
        return self.placed(value, normed(self._layers[index].mlp_norm, inputs))

    def _read_final(self, layer: int, value: Tensor) -> Tensor:
        column = len(self._graph.readers) - 1
        return self.placed(value, self._added(self.own(value), [column], 0, len(self._graph.sources)))

    def _added(
        self, residual: Float[Tensor, "batch pos d_model"], columns: list[int], first: int, last: int
    ) -> Float[Tensor, "batch pos d_model"]:
        """Return the input of a reader that is alone in its layer: the residual stream plus changes of writers."""
        out = residual.flatten(0, 1).to(self._dtype, copy=True)
        for part in self.changes.pieces(1):
            self.changes.add_to(out[None, part], columns, first, last, part)
        return out.view_as(residual)

    def own(self, value: Tensor) -> Tensor:
        """Return the value from ``start`` on in the first copy of the prompts."""
        return value[: len(value) // self.copies, self._start :]

    def placed(self, value: Tensor, new: Tensor) -> Tensor:
        """Return ``value`` with ``new`` from ``start`` on, in all copies."""
        new = new.to(value.dtype).repeat(self.copies, *[1] * (new.ndim - 1))
        return new if not self._start else torch.cat([value[:, : self._start], new], 1)
