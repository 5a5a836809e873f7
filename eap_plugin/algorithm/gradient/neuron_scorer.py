"""The scorer of neurons."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.gradient.scorer import Scorer
from eap_plugin.interventions.recording import ReaderGradients
from eap_plugin.interventions.writer_outputs import Writers


class NeuronScorer(Scorer):
    """A scorer of neurons: columns are the dimensions of the residual stream, for each writer's output.

    A writer's gradient is the sum of the gradients at all later readers, which equals the gradient at the residual
    stream just after the writer. The layers are therefore scored in reverse order, with ``g`` as the sum so far.
    """

    def _n_columns(self) -> int:
        return self._model.layers[0].W_O.shape[-1]

    def _add_piece(
        self,
        change: Writers,
        runs: Sequence[ReaderGradients],
        piece: slice,
        out: Float[Tensor, "out_pos sources d_model"],
    ) -> None:
        graph = self._graph
        g = self._final_reader(runs, piece)
        readers = self._buffer("readers", self._n_attention_readers, *g.shape)

        def add(row: int, D: Tensor) -> None:
            """Add the scores of writers with changes ``D`` [writers, tokens, d_model], from ``row`` on."""
            product = torch.unflatten(D * g, 1, (len(out), -1)).sum(2)
            out[:, row : row + len(D)] += product.transpose(0, 1)

        heads = self._buffer("writers", len(graph.sources), *g.shape)
        for index in reversed(range(graph.n_layers)):
            head, mlp = graph.head_row(index), graph.mlp_row(index)
            self._write_heads(index, change, piece, heads)
            if graph.parallel:
                add(head, heads[head:mlp])
            if graph.has_mlp:
                add(mlp, self._tokens(change.mlp[index], piece)[None])
                g += self._mlp_reader(index, runs, piece)
            if not graph.parallel:
                add(head, heads[head:mlp])
            self._attention_readers(index, runs, piece, readers)
            g += readers.sum(0)
        add(0, self._tokens(change.embed, piece)[None])
