"""Scorers, which multiply the changes of all writers by the gradients at all readers.

For writer u and reader v (Syed et al. 2023, arXiv 2310.10348, as AutoCircuit computes it)

    score(u → v) = Σ over prompts, positions and d_model of (c_u[corrupt] − c_u[clean]) · ∂L/∂r_v

where c_u is what u adds to the residual stream, r_v is the residual stream as v alone reads it, before its norm, and L
is minus the metric. This is a product of the matrices [writers, tokens · d_model] and [tokens · d_model, readers]. The
recorders keep both compact, with d_head dimensions per head, and a scorer expands them for a few positions at a time:

1. Take as many positions as the size limit of temporary tensors allows (``interventions.workspace``).
2. Expand the changes: a head's change in ``z`` times W_O is its change of the residual stream.
3. Expand the gradients: a gradient on q times W_Qᵀ (likewise for k and v) is the gradient at the output of attention's
   norm as this head alone reads it. The norm's vector-Jacobian product turns it into the gradient at the residual
   stream. This is what autograd would give if each head had its own copy of the residual stream.
4. Go through the layers in order, multiply the gradients at each layer's readers by the changes of all earlier writers,
   and add the products to the score matrix.

Letters in the code: D for the changes [writers, tokens, d_model], G for the gradients [readers, tokens, d_model].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.interventions.recording import ReaderGradients, mapped
from eap_plugin.interventions.workspace import workspace
from eap_plugin.interventions.writer_outputs import Writers, output_weight
from eap_plugin.model.residual_model import ResidualModel


class Scorer(ABC):
    """A matrix of scores that are summed over batches.

    Temporary tensors are allocated once, and reused for all positions, layers and batches.

    Attributes:
        matrix: the sum so far over prompts without a group; the first axis has length one, or one entry for each
            position.
        groups: the sum so far over the prompts of each group.
    """

    matrix: Float[Tensor, "out_pos sources columns"]
    groups: Float[Tensor, "groups out_pos sources columns"]

    def __init__(
        self, model: ResidualModel, dtype: torch.dtype, n_positions: int | None = None, n_groups: int = 0
    ) -> None:
        """Start with all scores at zero.

        Args:
            model: the model, whose weights expand the heads.
            dtype: the dtype to multiply and add in.
            n_positions: the number of token positions to score separately; ``None`` sums over positions.
            n_groups: the number of groups of prompts to score separately.
        """
        self._model, self._graph = model, model.graph
        self._per_position = n_positions is not None
        shape = n_positions or 1, len(self._graph.sources), self._n_columns()
        self.matrix = torch.zeros(shape, dtype=dtype, device=model.device)
        self.groups = self.matrix.new_zeros(n_groups, *shape)
        self._buffers: dict[str, Tensor] = {}

    @abstractmethod
    def _n_columns(self) -> int:
        """Return the number of scores of a writer."""

    @abstractmethod
    def _add_piece(
        self,
        change: Writers,
        gradients: ReaderGradients,
        piece: slice,
        out: Float[Tensor, "out_pos sources columns"],
    ) -> None:
        """Add the scores of the positions ``piece`` to ``out``."""

    def add(
        self,
        change: Writers,
        gradients: ReaderGradients,
        start: int = 0,
        groups: Mapping[int, Int[Tensor, "some"]] | None = None,
    ) -> None:
        """Add the scores of one batch.

        Args:
            change: the change of every writer.
            gradients: the gradient at every reader.
            start: the position in the prompts of the first recorded position.
            groups: the rows of each group's prompts; ``None`` for prompts without a group.
        """
        if groups is None:
            self._add_to(self.matrix, change, gradients, start)
            return
        for group, rows in groups.items():
            select = partial(torch.index_select, dim=0, index=rows)
            self._add_to(self.groups[group], mapped(change, select), mapped(gradients, select), start)

    def _add_to(
        self,
        total: Float[Tensor, "out_pos sources columns"],
        change: Writers,
        gradients: ReaderGradients,
        start: int,
    ) -> None:
        batch, n_pos, d_model = change.embed.shape
        step = max(1, workspace(change.embed.device) // (len(self._graph.sources) * batch * d_model))
        for first in range(0, n_pos, step):
            piece = slice(first, min(first + step, n_pos))
            where = slice(start + piece.start, start + piece.stop) if self._per_position else slice(0, 1)
            self._add_piece(change, gradients, piece, total[where])

    def _tokens(self, x: Tensor, piece: slice) -> Float[Tensor, "tokens ..."]:
        """Flatten prompts and positions into tokens, with all prompts of a position next to each other."""
        return x[:, piece].transpose(0, 1).flatten(0, 1).to(self.matrix.dtype)

    def _write_heads(
        self, index: int, change: Writers, piece: slice, D: Float[Tensor, "sources tokens d_model"]
    ) -> None:
        """Write the changes of a layer's heads to their rows of ``D``."""
        z = self._tokens(change.z[index], piece).transpose(0, 1).contiguous()
        weight = output_weight(self._model.layers[index]).to(D.dtype)
        torch.bmm(z, weight, out=D[self._graph.head_row(index) : self._graph.mlp_row(index)])

    def _attention_readers(
        self, index: int, gradients: ReaderGradients, piece: slice
    ) -> Float[Tensor, "readers tokens d_model"]:
        """Return the gradient at the residual stream as each q, k and v head reads it.

        This computes ``Norm.vjp``, or ``Norm.linear_vjp`` with frozen norms, in place.
        """
        layer = self._model.layers[index]
        g = [self._tokens(x[index], piece).transpose(0, 1) for x in (gradients.q, gradients.k, gradients.v)]
        x = self._tokens(gradients.attn_in[index], piece)
        stats = None if layer.attn_norm is None else layer.attn_norm.stats(x)
        n_readers = sum(len(part) for part in g)
        G = self._buffer("readers", n_readers, *x.shape)
        for part, W, rows in zip(g, (layer.W_Q, layer.W_K, layer.W_V), _slices(g), strict=True):
            scaled = part.contiguous() if stats is None else part * stats.scale
            torch.bmm(scaled, W.transpose(1, 2).to(G.dtype), out=G[rows])
        if layer.attn_norm is None or stats is None:
            return G
        if layer.attn_norm.weight is not None:
            G *= layer.attn_norm.weight
        if layer.attn_norm.centred:
            G -= G.mean(-1, keepdim=True)
        if gradients.frozen_norms:
            return G
        product = torch.mul(G, stats.x_hat, out=self._buffer("product", *G.shape))
        return G.addcmul_(stats.x_hat, product.mean(-1, keepdim=True), value=-1)

    def _mlp_reader(self, index: int, gradients: ReaderGradients, piece: slice) -> Float[Tensor, "tokens d_model"]:
        """Return the gradient at the residual stream as a layer's MLP reads it."""
        g, norm = self._tokens(gradients.mlp[index], piece), self._model.layers[index].mlp_norm
        if norm is None:
            return g
        stats = norm.stats(self._tokens(gradients.mlp_in[index], piece))
        return norm.linear_vjp(stats.scale, g) if gradients.frozen_norms else norm.vjp(stats, g)

    def _buffer(self, name: str, *shape: int) -> Tensor:
        """Return an uninitialized tensor, in memory that is reused for each name and grows when needed."""
        size = torch.Size(shape).numel()
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = self.matrix.new_empty(size)
        return self._buffers[name][:size].view(shape)


class EdgeScorer(Scorer):
    """A scorer of edges: columns are the graph's readers, and entries are zero where there is no edge."""

    def _n_columns(self) -> int:
        return len(self._graph.readers)

    def _add_piece(
        self,
        change: Writers,
        gradients: ReaderGradients,
        piece: slice,
        out: Float[Tensor, "out_pos sources readers"],
    ) -> None:
        graph = self._graph

        def add(cut: int, column: int, G: Tensor) -> None:
            """Add the scores of readers with gradients ``G``, from ``column`` on, for the first ``cut`` writers."""
            target = out[:, :cut, column : column + len(G)]
            if self._per_position:
                d, g = (x.reshape(len(x), len(out), -1).transpose(0, 1) for x in (D[:cut], G))
                target += d @ g.transpose(1, 2)
            else:
                target[0] += D[:cut].flatten(1) @ G.flatten(1).T

        embed = self._tokens(change.embed, piece)
        D = self._buffer("writers", len(graph.sources), *embed.shape)
        D[0] = embed
        column = 0
        for index in range(graph.n_layers):
            head, mlp = graph.head_row(index), graph.mlp_row(index)
            G = self._attention_readers(index, gradients, piece)
            add(head, column, G)
            column += len(G)
            self._write_heads(index, change, piece, D)
            if graph.has_mlp:
                add(head if graph.parallel else mlp, column, self._mlp_reader(index, gradients, piece)[None])
                column += 1
                D[mlp] = self._tokens(change.mlp[index], piece)
        add(len(D), column, self._tokens(gradients.final, piece)[None])


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
        gradients: ReaderGradients,
        piece: slice,
        out: Float[Tensor, "out_pos sources d_model"],
    ) -> None:
        graph = self._graph
        g = self._tokens(gradients.final, piece).clone()

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
                g += self._mlp_reader(index, gradients, piece)
            if not graph.parallel:
                add(head, heads[head:mlp])
            g += self._attention_readers(index, gradients, piece).sum(0)
        add(0, self._tokens(change.embed, piece)[None])


def _slices(parts: list[Tensor]) -> Iterator[slice]:
    start = 0
    for part in parts:
        yield slice(start, start + len(part))
        start += len(part)
