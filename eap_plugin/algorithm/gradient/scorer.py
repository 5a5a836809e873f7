"""The base of scorers, which multiply the changes of all writers by the gradients at all readers.

The recorders keep changes and gradients compact, with d_head dimensions per head. A scorer expands them for as many
positions at a time as the size limit of temporary tensors allows (``interventions.workspace``):

1. A head's change in ``z`` times W_O is its change of the residual stream.
2. A gradient on q times W_Qᵀ (likewise for k and v) is the gradient at the output of attention's norm as this head
   alone reads it. The norm's vector-Jacobian product turns it into the gradient at the residual stream. This is what
   autograd would give if each head had its own copy of the residual stream.
3. If there are gradients of several runs, in which the writers change by the same, the expanded ones are added up: each
   has the statistics of its own run's norms, so the compact ones do not add up.

``EdgeScorer`` and ``NeuronScorer`` multiply what was expanded. Letters in the code: D for the changes
[writers, tokens, d_model], G for the gradients [readers, tokens, d_model].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
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
        runs: Sequence[ReaderGradients],
        piece: slice,
        out: Float[Tensor, "out_pos sources columns"],
    ) -> None:
        """Add the scores of the positions ``piece`` to ``out``."""

    def add(
        self,
        change: Writers,
        *runs: ReaderGradients,
        start: int = 0,
        groups: Mapping[int, Int[Tensor, "some"]] | None = None,
    ) -> None:
        """Add the scores of one batch.

        Args:
            change: the change of every writer.
            *runs: the gradient at every reader, in one or more runs over which scores are summed.
            start: the position in the prompts of the first recorded position.
            groups: the rows of each group's prompts; ``None`` for prompts without a group.
        """
        if groups is None:
            self._add_to(self.matrix, change, runs, start)
            return
        for group, rows in groups.items():
            select = partial(torch.index_select, dim=0, index=rows)
            self._add_to(self.groups[group], mapped(change, select), [mapped(x, select) for x in runs], start)

    def _add_to(
        self,
        total: Float[Tensor, "out_pos sources columns"],
        change: Writers,
        runs: Sequence[ReaderGradients],
        start: int,
    ) -> None:
        batch, n_pos, d_model = change.embed.shape
        step = max(1, workspace(change.embed.device) // (len(self._graph.sources) * batch * d_model))
        for first in range(0, n_pos, step):
            piece = slice(first, min(first + step, n_pos))
            where = slice(start + piece.start, start + piece.stop) if self._per_position else slice(0, 1)
            self._add_piece(change, runs, piece, total[where])

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
        self, index: int, runs: Sequence[ReaderGradients], piece: slice, out: Float[Tensor, "readers tokens d_model"]
    ) -> None:
        """Write the gradient at the residual stream as each q, k and v head reads it to ``out``, summed over runs."""
        self._expand_heads(index, runs[0], piece, out)
        for gradients in runs[1:]:
            more = self._buffer("readers of another run", *out.shape)
            self._expand_heads(index, gradients, piece, more)
            out += more

    def _expand_heads(
        self, index: int, gradients: ReaderGradients, piece: slice, out: Float[Tensor, "readers tokens d_model"]
    ) -> None:
        """Write the gradient at the residual stream as each q, k and v head reads it to ``out``, for one run.

        This computes ``Norm.vjp``, or ``Norm.linear_vjp`` with frozen norms, in place.
        """
        layer = self._model.layers[index]
        g = [self._tokens(x[index], piece).transpose(0, 1) for x in (gradients.q, gradients.k, gradients.v)]
        norm = layer.attn_norm
        stats = None if norm is None else norm.stats(self._tokens(gradients.attn_in[index], piece))
        for part, W, rows in zip(g, (layer.W_Q, layer.W_K, layer.W_V), _slices(g), strict=True):
            scaled = part.contiguous() if stats is None else part * stats.scale
            torch.bmm(scaled, W.transpose(1, 2).to(out.dtype), out=out[rows])
        if norm is None or stats is None:
            return
        if norm.weight is not None:
            out *= norm.weight
        if norm.centred:
            out -= out.mean(-1, keepdim=True)
        if not gradients.frozen_norms:
            product = torch.mul(out, stats.x_hat, out=self._buffer("product", *out.shape))
            out.addcmul_(stats.x_hat, product.mean(-1, keepdim=True), value=-1)

    def _mlp_reader(self, index: int, runs: Sequence[ReaderGradients], piece: slice) -> Float[Tensor, "tokens d_model"]:
        """Return the gradient at the residual stream as a layer's MLP reads it, summed over runs."""
        norm = self._model.layers[index].mlp_norm
        total = torch.zeros(())
        for gradients in runs:
            g = self._tokens(gradients.mlp[index], piece)
            if norm is not None:
                stats = norm.stats(self._tokens(gradients.mlp_in[index], piece))
                g = norm.linear_vjp(stats.scale, g) if gradients.frozen_norms else norm.vjp(stats, g)
            total = g if gradients is runs[0] else total + g
        return total

    def _final_reader(self, runs: Sequence[ReaderGradients], piece: slice) -> Float[Tensor, "tokens d_model"]:
        """Return the gradient at the residual stream as the logits read it, summed over runs."""
        total = self._tokens(runs[0].final, piece).clone()
        for gradients in runs[1:]:
            total += self._tokens(gradients.final, piece)
        return total

    @property
    def _n_attention_readers(self) -> int:
        """The number of q, k and v readers of a layer."""
        return self._graph.n_heads + 2 * self._graph.n_kv_heads

    def _buffer(self, name: str, *shape: int) -> Tensor:
        """Return an uninitialized tensor, in memory that is reused for each name and grows when needed."""
        size = torch.Size(shape).numel()
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = self.matrix.new_empty(size)
        return self._buffers[name][:size].view(shape)


def _slices(parts: list[Tensor]) -> Iterator[slice]:
    start = 0
    for part in parts:
        yield slice(start, start + len(part))
        start += len(part)
