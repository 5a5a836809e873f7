"""The inputs of readers whose edges are patched: the residual stream plus a weighted sum of changes of writers.

Each reader v with a patched edge reads, in place of the residual stream x of its site,

    r_v = x + Σ_u weight[u, v] · change_u

The changes of the writers that occur are kept in one tensor, so that the inputs of all of a layer's readers are one
matrix product; if few edges are patched, the changes are added one by one. The readers' norms and projections are
applied to the sums, and the results replace the values at the sites. Readers without a patched edge keep the model's
own values.

With one k and one v reader for each query head of a group, the model runs on as many copies of the prompts as a group
has heads. Copy i has, at k and v, what the i-th query head of each group reads; each head's output is taken from its
own copy, and every copy gets the result, so that all copies have the same residual stream.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.interventions.reader_inputs import heads_read
from eap_plugin.interventions.workspace import Buffers
from eap_plugin.model.graph import Graph
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor

_SPARSE = 1 / 7
"""The share of edges, among all between some writers and readers, below which adding changes one by one is faster."""

Slot = Literal["q", "k", "v"]
_HEADS: tuple[Slot, ...] = ("q", "k", "v")


def as_slice(places: list[int]) -> list[int] | slice:
    """Return consecutive places as a slice, by which a tensor is not copied; others as they are."""
    whole = range(places[0], places[0] + len(places))
    return slice(whole.start, whole.stop) if places == list(whole) else places


class PatchedReaders:
    """The readers of one run: they are given the changes of writers, and change what is read by visitors.

    Attributes:
        copies: the number of copies of the prompts that must be run.
    """

    def __init__(
        self,
        model: ResidualModel,
        graph: Graph,
        weights: Float[Tensor, "sources readers"],
        start: int = 0,
        buffers: Buffers | None = None,
    ) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            graph: the model's graph, or the same with one k and one v reader for each query head.
            weights: the factor of each writer's change at each reader; zero at edges that are not patched.
            start: the first position at which changes are not zero.
            buffers: memory that earlier runs have used.
        """
        self._buffers = buffers or Buffers()
        self._layers, self._graph, self._start = model.layers, graph, start
        self.copies = graph.n_kv_heads // model.graph.n_kv_heads
        used = weights.any(1)
        self._used: list[bool] = used.tolist()
        self._before: list[int] = [0, *used.cumsum(0).tolist()]  # used writers before each row
        self._weights = weights[used]
        self._columns: dict[tuple[str, int], list[int]] = {}  # of readers with a patched edge
        for column in weights.any(0).nonzero().flatten().tolist():
            reader = graph.readers[column]
            self._columns.setdefault((reader.slot, reader.layer), []).append(column)
        self._changes = weights.new_zeros(0)  # a place for the residual stream, then those of used writers
        self._values: dict[Slot, Tensor] = {}
        self._mlp_shift: Tensor | None = None
        self._mlp_in = weights

    def occurs(self, row: int) -> bool:
        """Return whether some reader needs the change of this writer."""
        return self._used[row]

    def room(self, first: int, count: int, like: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "n batch pos d"]:
        """Return the memory for the changes of those of ``count`` writers, from row ``first`` on, that occur."""
        if not len(self._changes):
            self._changes = self._buffers.take("changes", [len(self._weights) + 1, *like.shape], like)
        return self._changes[1 + self._before[first] : 1 + self._before[first + count]]

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
        columns = [column for slot in found for column in found[slot]]
        mlp = self._columns.get(("mlp", index), [])
        first = self._graph.head_row(index)
        inputs = self._sums(columns + mlp, 0, first, self.own(value), len(columns))
        for slot, part in zip(
            found, torch.split(inputs[: len(columns)], [len(x) for x in found.values()]), strict=True
        ):
            split = self.copies if slot in "kv" else 1
            heads = [self._graph.readers[column].head // split for column in found[slot]]
            self._values[slot] = heads_read(self._layers[index], slot, part, as_slice(heads))
        self._mlp_shift = inputs[-1] if mlp else None

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
        before, self._mlp_shift = self._mlp_shift, None
        residual, last = self.own(self._mlp_in), self._graph.readers[columns[0]].n_upstream
        if before is None:
            (inputs,) = self._sums(columns, 0, last, residual, 1)
        else:
            (inputs,) = self._sums(columns, self._graph.head_row(index), last, residual, 0)
            inputs += before.add_(residual)
        return self.placed(value, normed(self._layers[index].mlp_norm, inputs))

    def _read_final(self, layer: int, value: Tensor) -> Tensor:
        column = len(self._graph.readers) - 1
        (inputs,) = self._sums([column], 0, len(self._graph.sources), self.own(value), 1)
        return self.placed(value, inputs)

    def _sums(
        self, columns: list[int], first: int, last: int, residual: Float[Tensor, "batch pos d_model"], n_added: int
    ) -> Float[Tensor, "readers batch pos d_model"]:
        """Return the weighted sums of the changes of writers from row ``first`` to before ``last``, for some readers.

        The residual stream is added for the first ``n_added`` readers.
        """
        rows = slice(self._before[first], self._before[last])
        weights = self._weights[rows, columns]
        out = self._buffers.take("sums" if n_added else "own", [len(columns), *residual.shape], self._changes)
        if int(weights.count_nonzero()) < _SPARSE * weights.numel():
            return self._added(weights, rows.start, residual, n_added, out)
        changes = self._changes[rows.start + 1 : rows.stop + 1]
        if n_added:
            self._changes[rows.start] = residual
            changes = self._changes[rows.start : rows.stop + 1]
            ones = (torch.arange(len(columns), device=weights.device) < n_added).to(weights.dtype)
            weights = torch.cat([ones[None], weights])
        torch.mm(weights.T.to(changes.dtype), changes.flatten(1), out=out.flatten(1))
        return out

    def _added(self, weights: Tensor, first: int, residual: Tensor, n_added: int, out: Tensor) -> Tensor:
        """Return the same sums, each change added on its own."""
        out[:n_added] = residual
        out[n_added:] = 0
        for reader, place in weights.T.nonzero().tolist():
            out[reader].add_(self._changes[1 + first + place], alpha=float(weights[place, reader]))
        return out

    def own(self, value: Tensor) -> Tensor:
        """Return the value from ``start`` on in the first copy of the prompts."""
        return value[: len(value) // self.copies, self._start :]

    def placed(self, value: Tensor, new: Tensor) -> Tensor:
        """Return ``value`` with ``new`` from ``start`` on, in all copies."""
        new = new.to(value.dtype).repeat(self.copies, *[1] * (new.ndim - 1))
        return new if not self._start else torch.cat([value[:, : self._start], new], 1)
