"""The scorer of edges.

For writer u and reader v (Syed et al. 2023, arXiv 2310.10348, as AutoCircuit computes it)

    score(u → v) = Σ over prompts, positions and d_model of (c_u[corrupt] − c_u[clean]) · ∂L/∂r_v

where c_u is what u adds to the residual stream, r_v is the residual stream as v alone reads it, before its norm, and L
is minus the metric. This is a product of the matrices [writers, tokens · d_model] and [tokens · d_model, readers]:

1. Expand the changes of all writers (see ``scorer``).
2. Go through the layers in order, in blocks of several layers, since a product with few readers is slow. Expand the
   gradients at a block's readers.
3. Multiply them by the changes of all writers before the block's last layer, and add the products to the score matrix,
   leaving out those of readers with writers that come after them.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.algorithm.gradient.scorer import Scorer
from eap_plugin.interventions.recording import ReaderGradients
from eap_plugin.interventions.workspace import workspace
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.model.edge_matrix import edge_mask

FAST_READERS = 150
"""The number of readers with which a product is about as fast as with more."""


class EdgeScorer(Scorer):
    """A scorer of edges: columns are the graph's readers, and entries are zero where there is no edge."""

    def _n_columns(self) -> int:
        return len(self._graph.readers)

    def _add_piece(
        self,
        change: Writers,
        runs: Sequence[ReaderGradients],
        piece: slice,
        out: Float[Tensor, "out_pos sources readers"],
    ) -> None:
        graph = self._graph
        D, is_edge = self._changes(change, piece), edge_mask(graph).to(out.device)
        n_layer = self._n_attention_readers + graph.has_mlp
        n_blocked = self._layers_in_a_block(n_layer, D[0].numel())
        column = 0
        for first in range(0, graph.n_layers, n_blocked):
            layers = range(first, min(first + n_blocked, graph.n_layers))
            last = layers[-1] + 1 == graph.n_layers
            G = self._buffer("readers", n_layer * len(layers) + last, *D.shape[1:])
            for index, rows in zip(layers, range(0, len(G), n_layer), strict=False):
                readers = G[rows : rows + n_layer]
                self._attention_readers(index, runs, piece, readers[: self._n_attention_readers])
                if graph.has_mlp:
                    readers[-1] = self._mlp_reader(index, runs, piece)
            if last:
                G[-1] = self._final_reader(runs, piece)
            columns = slice(column, column + len(G))
            known = is_edge[: graph.readers[columns][-1].n_upstream, columns]
            self._multiply(D[: len(known)], G, known, out[:, : len(known), columns])
            column = columns.stop

    def _changes(self, change: Writers, piece: slice) -> Float[Tensor, "sources tokens d_model"]:
        """Return the changes of all writers."""
        embed = self._tokens(change.embed, piece)
        D = self._buffer("writers", len(self._graph.sources), *embed.shape)
        D[0] = embed
        for index in range(self._graph.n_layers):
            self._write_heads(index, change, piece, D)
            if self._graph.has_mlp:
                D[self._graph.mlp_row(index)] = self._tokens(change.mlp[index], piece)
        return D

    def _layers_in_a_block(self, n_readers: int, size: int) -> int:
        """Return how many layers to multiply together, given each one's readers and the entries of a gradient."""
        fast = -(-FAST_READERS // n_readers)
        return max(1, min(fast, self._graph.n_layers, workspace(self.matrix.device) // (n_readers * size)))

    def _multiply(
        self,
        D: Float[Tensor, "sources tokens d_model"],
        G: Float[Tensor, "readers tokens d_model"],
        is_edge: Bool[Tensor, "sources readers"],
        out: Float[Tensor, "out_pos sources readers"],
    ) -> None:
        """Add the scores of the edges between some writers and some readers to ``out``."""
        if self._per_position:
            d, g = (x.reshape(len(x), len(out), -1).transpose(0, 1) for x in (D, G))
            product = d @ g.transpose(1, 2)
        else:
            product = (D.flatten(1) @ G.flatten(1).T)[None]
        out += product.masked_fill_(~is_edge, 0)
