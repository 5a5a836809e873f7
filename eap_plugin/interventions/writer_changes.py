"""The changes of writers along patched edges, and their sums for readers.

A change is kept in d_model dimensions if it is that of ``input`` or an MLP. That of a head has d_head dimensions as
``z``, so it can be kept as such and expanded by W_O again for every reader. Heads that many readers need are expanded
once and kept so, as far as the workspace allows: first those of the first layers, which most layers read.

Sums are computed for some tokens and some heads at a time: temporary tensors then stay in a processor's cache, which
saves about as much time as expanding heads several times costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.interventions.workspace import Buffers, workspace
from eap_plugin.interventions.writer_outputs import output_weight
from eap_plugin.model.graph import Graph
from eap_plugin.model.layer import Layer

_PIECE = 1 / 4
"""The part of the workspace that a temporary tensor may take."""

_FEW_READERS = 4
"""The most readers of a head for which expanding it for each is about as fast as expanding it once."""

_SPARSE = 1 / 7
"""The share of edges, among all between some writers and readers, below which adding changes one by one is faster."""


class WriterChanges:
    """The changes of the writers that some reader needs, and their sums over the edges into readers."""

    def __init__(
        self,
        layers: Sequence[Layer],
        graph: Graph,
        edges: Bool[Tensor, "sources readers"],
        neurons: Bool[Tensor, "sources d_model"] | None,
        like: Float[Tensor, "batch pos d_model"],
        buffers: Buffers,
    ) -> None:
        """Prepare one run.

        Args:
            layers: the model's layers.
            graph: the graph of the edges.
            edges: the edges along which changes flow.
            neurons: the dimensions of each writer's change that flow; all if ``None``.
            like: a tensor of the shape and dtype of a change.
            buffers: memory that earlier runs have used.
        """
        self._layers, self._graph, self._neurons = layers, graph, neurons
        self._n_tokens, self._width = like.shape[0] * like.shape[1], like.shape[2]
        self._piece = int(_PIECE * workspace(like.device))
        self._edges, self._weights = edges.cpu(), edges.to(like)
        self._used: list[bool] = self._edges.any(1).tolist()
        rows = self._rows_to_keep(workspace(like.device))
        self._places = {row: place for place, row in enumerate(rows)}
        self._before = [sum(row < other for row in rows) for other in range(len(self._used) + 1)]
        self._rows = torch.tensor(rows, dtype=torch.long)
        self._kept = buffers.take("changes", [len(rows), self._n_tokens, self._width], like)
        self._z: dict[int, Tensor] = {}  # by layer, [tokens, heads, d_head]

    def _rows_to_keep(self, room: int) -> list[int]:
        """Return the writers whose changes are kept in d_model dimensions."""
        graph, rows = self._graph, [0]
        offloaded = not isinstance(self._layers, list)  # weights that are loaded anew each time they are read
        for layer in range(graph.n_layers):
            heads = self._heads(layer)
            size = len(heads) * self._n_tokens * self._width
            many = int(self._edges[heads].sum()) > _FEW_READERS * len(heads)
            if offloaded or (many and size <= room):
                rows += heads
                room -= size
            rows += [graph.mlp_row(layer)] if graph.has_mlp else []
        return [row for row in rows if self._used[row]]

    def _heads(self, layer: int) -> list[int]:
        first = self._graph.head_row(layer)
        return [row for row in range(first, first + self._graph.n_heads) if self._used[row]]

    def occurs(self, row: int) -> bool:
        """Return whether some reader needs the change of this writer."""
        return self._used[row]

    def add(self, row: int, change: Float[Tensor, "batch pos d_model"]) -> None:
        """Keep the change of ``input`` or an MLP, if some reader needs it."""
        if self._used[row]:
            kept = self._kept[self._places[row]]
            kept.copy_(change.flatten(0, 1))
            if self._neurons is not None:
                kept *= self._neurons[row]

    def add_heads(self, layer: int, change: Float[Tensor, "batch pos heads d_head"]) -> None:
        """Keep the changes of the heads of a layer that some reader needs; each is that of its scaled ``z``."""
        rows = self._heads(layer)
        if not rows:
            return
        z = change.flatten(0, 1).to(self._kept.dtype)
        if rows[0] in self._places:
            self._expand(z, layer, rows, self._kept[self._places[rows[0]] : self._places[rows[-1]] + 1])
        else:
            self._z[layer] = z.contiguous()

    def pieces(self, n_readers: int) -> list[slice]:
        """Return all tokens in pieces for which sums of so many readers fit in a temporary tensor."""
        size = max(1, self._piece // (n_readers * self._width))
        return [slice(start, min(start + size, self._n_tokens)) for start in range(0, self._n_tokens, size)]

    def add_to(
        self, sums: Float[Tensor, "readers tokens d_model"], columns: Sequence[int], first: int, last: int, part: slice
    ) -> None:
        """Add, for some readers, the changes of writers with an edge to them.

        Args:
            sums: what the changes are added to, at the tokens of ``part``.
            columns: the readers.
            first: the first writer to add.
            last: the writer after the last one.
            part: the tokens, out of all positions of all prompts.
        """
        kept = slice(self._before[first], self._before[last])
        rows = self._rows[kept]
        edges = self._edges[rows][:, columns]
        if int(edges.sum()) < _SPARSE * edges.numel():
            for place, reader in edges.nonzero().tolist():
                sums[reader] += self._kept[kept.start + place, part]
        elif len(rows):
            weights = self._weights[rows][:, columns]
            sums.flatten(1).addmm_(weights.T, self._kept[kept, part].flatten(1))
        self._add_heads_to(sums, columns, first, last, part)

    def _add_heads_to(
        self, sums: Float[Tensor, "readers tokens d_model"], columns: Sequence[int], first: int, last: int, part: slice
    ) -> None:
        """Add the changes of heads that are kept as ``z``: edge by edge if these are few, else all of some layers."""
        waiting: list[tuple[int, list[int]]] = []
        n_waiting, most = 0, self._piece // (sums.shape[1] * self._width)
        for layer, z in self._z.items():
            start = self._graph.head_row(layer)
            if not first <= start < last:
                continue
            edges = self._edges[start : start + self._graph.n_heads, columns]
            rows = (start + edges.any(1).nonzero().flatten()).tolist()
            d_head = z.shape[-1]
            if int(edges.sum()) * d_head <= len(rows) * (d_head + len(columns)):
                self._add_directly(sums, layer, edges, part)
                continue
            if n_waiting and n_waiting + len(rows) > most:
                self._add_expanded(sums, columns, waiting, part)
                waiting, n_waiting = [], 0
            waiting.append((layer, rows))
            n_waiting += len(rows)
        if waiting:
            self._add_expanded(sums, columns, waiting, part)

    def _add_directly(
        self,
        sums: Float[Tensor, "readers tokens d_model"],
        layer: int,
        edges: Bool[Tensor, "heads readers"],
        part: slice,
    ) -> None:
        """Add the change of each of a layer's heads to each reader by a product of its own."""
        start, z = self._graph.head_row(layer), self._z[layer][part]
        for reader in edges.any(0).nonzero().flatten().tolist():
            for head in edges[:, reader].nonzero().flatten().tolist():
                sums[reader].addmm_(z[:, head], self._weight(layer, [start + head])[0])

    def _add_expanded(
        self,
        sums: Float[Tensor, "readers tokens d_model"],
        columns: Sequence[int],
        chosen: Sequence[tuple[int, list[int]]],
        part: slice,
    ) -> None:
        """Add the changes of the heads of some layers to all readers at once."""
        rows = [row for _, some in chosen for row in some]
        changes = sums.new_empty(len(rows), *sums.shape[1:])
        done = 0
        for layer, some in chosen:
            self._expand(self._z[layer][part], layer, some, changes[done : done + len(some)])
            done += len(some)
        sums.flatten(1).addmm_(self._weights[rows][:, columns].T, changes.flatten(1))

    def _expand(
        self,
        z: Float[Tensor, "tokens heads d_head"],
        layer: int,
        rows: Sequence[int],
        out: Float[Tensor, "some tokens d_model"],
    ) -> None:
        """Compute the changes of some heads of a layer in d_model dimensions."""
        heads = as_slice([row - self._graph.head_row(layer) for row in rows])
        torch.bmm(z[:, heads].transpose(0, 1), self._weight(layer, rows), out=out)

    def _weight(self, layer: int, rows: Sequence[int]) -> Float[Tensor, "some d_head d_model"]:
        """Return W_O of some heads, zero in dimensions that do not flow."""
        heads = as_slice([row - self._graph.head_row(layer) for row in rows])
        weight = output_weight(self._layers[layer])[heads].to(self._kept.dtype)
        return weight if self._neurons is None else weight * self._neurons[rows][:, None]


def as_slice(places: list[int]) -> list[int] | slice:
    """Return consecutive places as a slice, by which a tensor is not copied; others as they are."""
    whole = range(places[0], places[0] + len(places))
    return slice(whole.start, whole.stop) if places == list(whole) else places
