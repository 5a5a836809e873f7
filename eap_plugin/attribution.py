"""Edge scores from two runs: what the writers change, times the gradient at the readers.

For writer u and reader v (Syed et al. 2310.10348, as AutoCircuit computes it)

    score(u → v) = Σ over prompts, positions and d_model of (c_u[corrupt] − c_u[clean]) · ∂L/∂r_v

c_u is what u adds to the residual stream, r_v is the residual stream as v alone reads it, before its norm, and L is
minus the metric. Nothing per-head is built in the forward pass: writers are kept as ``z`` and expanded by W_O, readers
as gradients on q, k, v and expanded by W_Qᵀ and the norm's vector-Jacobian product, a few positions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.residual import Layer, ResidualModel
from eap_plugin.tapes import ReaderGradients, Writers

WORKSPACE = {"cpu": 2**23}
"""By kind of device, entries of the largest temporary tensor: writers × tokens × d_model of a piece of positions.

Small on a CPU, where fresh memory is dear and caches are small; ``BIG_WORKSPACE`` on accelerators, where launches are.
"""

BIG_WORKSPACE = 2**27


def output_weight(layer: Layer) -> Float[Tensor, "heads d_head d_model"]:
    """W_O with the norm after attention, if any, folded in (its scale is in ``Writers.z``)."""
    norm = layer.attn_post_norm
    return layer.W_O if norm is None else norm.gain(norm.centre(layer.W_O))


class EdgeScorer:
    """Sums edge scores over batches.

    Temporary tensors are made once and used again for every piece of positions, every layer and every batch.

    Attributes:
        matrix: the sum so far, zero where there is no edge: one matrix, or one for each position.
    """

    matrix: Float[Tensor, "out_pos sources readers"]

    def __init__(self, model: ResidualModel, dtype: torch.dtype, n_positions: int | None = None) -> None:
        """Start at zero.

        Args:
            model: whose weights expand heads.
            dtype: the dtype to multiply and add in.
            n_positions: keep the scores of this many token positions apart; ``None`` sums over positions.
        """
        self._model, self._graph = model, model.graph
        shape = n_positions or 1, len(self._graph.sources), len(self._graph.readers)
        self._per_position = n_positions is not None
        self.matrix = torch.zeros(shape, dtype=dtype, device=model.device)
        self._buffers: dict[str, Tensor] = {}

    def add(self, change: Writers, gradients: ReaderGradients, start: int = 0) -> None:
        """Add the scores of one batch, whose first position here is position ``start`` of its prompts."""
        batch, n_pos, d_model = change.embed.shape
        room = WORKSPACE.get(change.embed.device.type, BIG_WORKSPACE)
        step = max(1, room // (len(self._graph.sources) * batch * d_model))
        for first in range(0, n_pos, step):
            piece = slice(first, min(first + step, n_pos))
            where = slice(start + piece.start, start + piece.stop) if self._per_position else slice(0, 1)
            self._add_piece(change, gradients, piece, self.matrix[where])

    def _add_piece(
        self,
        change: Writers,
        gradients: ReaderGradients,
        piece: slice,
        out: Float[Tensor, "out_pos sources readers"],
    ) -> None:
        graph = self._graph

        def tokens(x: Tensor) -> Tensor:
            """[tokens, ...], position-major, so that a position's prompts lie side by side."""
            return x[:, piece].transpose(0, 1).flatten(0, 1).to(out.dtype)

        def add(cut: int, column: int, G: Tensor) -> None:
            """Add the scores of some readers, whose gradients are [readers, tokens, d_model]."""
            target = out[:, :cut, column : column + len(G)]
            if self._per_position:
                d, g = (x.reshape(len(x), len(out), -1).transpose(0, 1) for x in (D[:cut], G))
                target += d @ g.transpose(1, 2)
            else:
                target[0] += D[:cut].flatten(1) @ G.flatten(1).T

        embed = tokens(change.embed)
        D = self._buffer("writers", len(graph.sources), *embed.shape)
        D[0] = embed
        column = 0
        for index, layer in enumerate(self._model.layers):
            head, mlp = graph.head_row(index), graph.mlp_row(index)
            g = [tokens(x[index]).transpose(0, 1) for x in (gradients.q, gradients.k, gradients.v)]
            G = self._attention_readers(layer, g, tokens(gradients.attn_in[index]))
            add(head, column, G)
            column += len(G)
            z = tokens(change.z[index]).transpose(0, 1).contiguous()
            torch.bmm(z, output_weight(layer).to(out.dtype), out=D[head:mlp])
            if graph.has_mlp:
                g_mlp = tokens(gradients.mlp[index])
                if layer.mlp_norm is not None:
                    stats = layer.mlp_norm.stats(tokens(gradients.mlp_in[index]))
                    g_mlp = layer.mlp_norm.vjp(stats, g_mlp)
                add(head if graph.parallel else mlp, column, g_mlp[None])
                column += 1
                D[mlp] = tokens(change.mlp[index])
        add(len(D), column, tokens(gradients.final)[None])

    def _attention_readers(
        self, layer: Layer, g: list[Float[Tensor, "heads tokens d_head"]], x: Float[Tensor, "tokens d_model"]
    ) -> Float[Tensor, "readers tokens d_model"]:
        """The gradient at the residual stream as each q, k and v head reads it: ``Norm.vjp``, without copies."""
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
        product = torch.mul(G, stats.x_hat, out=self._buffer("product", *G.shape))
        return G.addcmul_(stats.x_hat, product.mean(-1, keepdim=True), value=-1)

    def _buffer(self, name: str, *shape: int) -> Tensor:
        """A tensor to write in, the same memory every time unless a larger one is needed."""
        size = torch.Size(shape).numel()
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = self.matrix.new_empty(size)
        return self._buffers[name][:size].view(shape)


def _slices(parts: list[Tensor]) -> Iterator[slice]:
    start = 0
    for part in parts:
        yield slice(start, start + len(part))
        start += len(part)
