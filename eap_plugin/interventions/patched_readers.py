"""The inputs of readers whose edges are patched: the residual stream plus a weighted sum of changes of writers.

Each reader v with a patched edge reads, in place of the residual stream x of its site,

    r_v = x + Σ_u weight[u, v] · change_u

The changes of the writers that occur are kept in one tensor, so that all inputs at a site are one matrix product. The
readers' norms and projections are applied to the sums, and the results replace the values at the sites. Readers without
a patched edge keep the model's own values.

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
from eap_plugin.model.graph import Graph
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


class PatchedReaders:
    """The readers of one run: they are given the changes of writers, and change what is read by visitors.

    Attributes:
        copies: the number of copies of the prompts that must be run.
    """

    def __init__(
        self, model: ResidualModel, graph: Graph, weights: Float[Tensor, "sources readers"], start: int = 0
    ) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            graph: the model's graph, or the same with one k and one v reader for each query head.
            weights: the factor of each writer's change at each reader; zero at edges that are not patched.
            start: the first position at which changes are not zero.
        """
        self._layers, self._graph, self._start = model.layers, graph, start
        self._group = model.graph.n_heads // model.graph.n_kv_heads
        self.copies = self._group if graph.n_kv_heads != model.graph.n_kv_heads else 1
        used = weights.any(1)
        self._weights = weights[used]
        self._place = used.cumsum(0).tolist()
        self._used = used.tolist()
        self._patched: dict[tuple[str, int], list[int]] = {}
        for column in weights.any(0).nonzero().flatten().tolist():
            reader = graph.readers[column]
            self._patched.setdefault((reader.slot, reader.layer), []).append(column)
        self._changes = weights.new_zeros(0)
        self._residual: dict[Site, Tensor] = {}

    def occurs(self, row: int) -> bool:
        """Return whether some reader needs the change of this writer."""
        return bool(self._used[row])

    def room(self, first: int, count: int, like: Float[Tensor, "batch pos d_model"]) -> Float[Tensor, "n batch pos d"]:
        """Return the memory for the changes of those of ``count`` writers, from row ``first`` on, that occur."""
        if not len(self._changes):
            self._changes = like.new_empty(len(self._weights) + 1, *like.shape)
        before = self._place[first - 1] if first else 0
        return self._changes[1 + before : 1 + self._place[first + count - 1]]

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        slots = {slot for slot, _ in self._patched}
        visit: dict[Site, Visitor] = {}
        if slots & {"q", "k", "v"}:
            visit["attn_in"] = self._keep("attn_in")
        heads: tuple[Literal["q", "k", "v"], ...] = ("q", "k", "v")
        visit |= {slot: self._read_heads(slot) for slot in heads if slot in slots}
        if "mlp" in slots:
            visit |= {"mlp_in": self._keep("mlp_in"), "mlp": self._read_mlp}
        return visit | ({"final": self._read_final} if "logits" in slots else {})

    def _keep(self, site: Site) -> Visitor:
        def visitor(layer: int, value: Tensor) -> None:
            self._residual[site] = value

        return visitor

    def _inputs(self, columns: list[int], residual: Tensor) -> Float[Tensor, "readers batch pos d_model"]:
        """Return what some readers of one site read, from ``start`` on; the prompts are those of the first copy."""
        n = self._place[self._graph.readers[columns[0]].n_upstream - 1]
        residual = residual[: len(residual) // self.copies, self._start :]
        self._changes[0] = residual
        weights = torch.cat([self._weights.new_ones(1, len(columns)), self._weights[:n, columns]])
        mixed = weights.T.to(residual.dtype) @ self._changes[: n + 1].flatten(1)
        return mixed.view(-1, *residual.shape)

    def _read_heads(self, slot: Literal["q", "k", "v"]) -> Visitor:
        def visitor(index: int, value: Tensor) -> Tensor | None:
            columns = self._patched.get((slot, index), [])
            if not columns:
                return None
            heads = [self._graph.readers[column].head for column in columns]
            split = self.copies if slot in "kv" else 1
            inputs = self._inputs(columns, self._residual["attn_in"])
            read = heads_read(self._layers[index], slot, inputs, [head // split for head in heads])
            new = torch.unflatten(value.clone(), 0, (self.copies, -1))
            for head, one in zip(heads, read.to(value.dtype), strict=True):
                copies = slice(None) if split == 1 else head % split
                new[copies, ..., self._start :, head // split, :] = one
            return new.flatten(0, 1)

        return visitor

    def _read_mlp(self, index: int, value: Tensor) -> Tensor | None:
        columns = self._patched.get(("mlp", index), [])
        if not columns:
            return None
        (inputs,) = self._inputs(columns, self._residual["mlp_in"])
        return self._placed(value, normed(self._layers[index].mlp_norm, inputs))

    def _read_final(self, layer: int, value: Tensor) -> Tensor:
        (inputs,) = self._inputs([len(self._graph.readers) - 1], value)
        return self._placed(value, inputs)

    def _placed(self, value: Tensor, new: Tensor) -> Tensor:
        """Return ``value`` with ``new`` from ``start`` on, in all copies."""
        new = new.to(value.dtype).repeat(self.copies, *[1] * (new.ndim - 1))
        return new if not self._start else torch.cat([value[:, : self._start], new], 1)
