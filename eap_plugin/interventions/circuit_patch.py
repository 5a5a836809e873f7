"""Runs of a circuit: along its edges flow the values of this run, along all others counterfactual ones; or vice versa.

Both can be done from either side, and the side with fewer edges costs less:

- *Keep* edges: every writer adds its counterfactual value to the residual stream, so that the model itself computes
  what it does if all edges are patched. Along the kept edges, the change from the counterfactual value to the value in
  this run is added to what the reader reads.
- *Patch* edges: every writer adds its own value. Along the patched edges, the opposite change is added.

Only readers with such an edge are computed again, and only the changes of writers with one are kept.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.errors import UsageError
from eap_plugin.interventions.patched_readers import PatchedReaders
from eap_plugin.interventions.workspace import Buffers
from eap_plugin.interventions.writer_outputs import Writers, output_weight, scaled_z
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


class CircuitPatch:
    """Visitors of one run on the clean prompts that keeps or patches some edges.

    Attributes:
        copies: the number of copies of the prompts that must be run; the logits of all are the same.
    """

    def __init__(
        self,
        model: ResidualModel,
        graph: Graph,
        other: Writers,
        edges: Bool[Tensor, "sources readers"],
        neurons: Bool[Tensor, "sources d_model"] | None = None,
        *,
        keep: bool,
        start: int = 0,
        buffers: Buffers | None = None,
    ) -> None:
        """Prepare one run.

        Args:
            model: the model that will run.
            graph: the graph of the edges: the model's, or the same with one k and one v reader for each query head.
            other: the counterfactual values, from ``start`` on.
            edges: the edges to keep or to patch.
            neurons: the dimensions of each writer's output that are kept or patched along these edges; all if ``None``.
            keep: keep these edges and patch all others; if false, patch these.
            start: the first position at which this run can differ from the other.
            buffers: memory that earlier runs have used.

        Raises:
            UsageError: if the circuit's writers have another number of dimensions than the model's.
        """
        if neurons is not None and neurons.shape[1] != other.embed.shape[-1]:
            raise UsageError(
                f"the circuit's writers have {neurons.shape[1]} neurons each, but those of {model.name} have "
                f"{other.embed.shape[-1]}; choose a circuit of this model"
            )
        self._model, self._other = model, other
        self._sign, self._keep, self._start = 1 if keep else -1, keep, start
        self._readers = PatchedReaders(model, graph, edges, neurons, other.embed, start, buffers)
        self.copies = self._readers.copies
        self._change = other.embed

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        visit: dict[Site, Visitor] = {"embed": self._on_embed, "z": self._on_z}
        if self._keep and any(layer.attn_post_norm is not None for layer in self._model.layers):
            visit["attn_out"] = self._on_attn_out
        if self._model.graph.has_mlp:
            visit["mlp_out"] = self._on_mlp_out
        return visit | self._readers.visitors()

    def _on_embed(self, layer: int, value: Tensor) -> Tensor | None:
        return self._on_output(0, value, self._other.embed)

    def _on_mlp_out(self, layer: int, value: Tensor) -> Tensor | None:
        return self._on_output(self._model.graph.mlp_row(layer), value, self._other.mlp[layer])

    def _on_output(self, row: int, value: Tensor, other: Tensor) -> Tensor | None:
        if self._readers.changes.occurs(row):
            self._readers.changes.add(row, self._sign * (self._readers.own(value) - other))
        return self._readers.placed(value, other) if self._keep else None

    def _on_z(self, index: int, value: Tensor) -> Tensor | None:
        layer = self._model.layers[index]
        own = self._of_own_copies(value) if self.copies > 1 else value
        self._change = scaled_z(layer, own[:, self._start :]) - self._other.z[index]
        self._readers.changes.add_heads(index, self._sign * self._change)
        if self._keep and layer.attn_post_norm is None:
            return self._readers.placed(value, self._other.z[index])
        return own.repeat(self.copies, 1, 1, 1) if self.copies > 1 else None

    def _on_attn_out(self, index: int, value: Tensor) -> Tensor | None:
        """Replace all heads' outputs after a norm, which no value of ``z`` would give."""
        layer = self._model.layers[index]
        if layer.attn_post_norm is None:
            return None
        change = self._change.flatten(2) @ output_weight(layer).flatten(0, 1).to(self._change.dtype)
        return self._readers.placed(value, self._readers.own(value) - change)

    def _of_own_copies(self, z: Float[Tensor, "copies_batch pos heads d_head"]) -> Float[Tensor, "batch pos heads d"]:
        """Return the output of each head from the copy of the prompts that has its own keys and values."""
        grouped = torch.unflatten(torch.unflatten(z, 2, (-1, self.copies)), 0, (self.copies, -1))
        return torch.stack([grouped[copy, :, :, :, copy] for copy in range(self.copies)], 3).flatten(2, 3)
