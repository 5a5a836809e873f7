"""The effect of an edge into a query or a key, with attention's softmax recomputed (Kramár et al. 2403.00745, QK fix).

A head that alone reads another residual stream has another query or key, hence other scores and another pattern; what
follows the pattern is taken to first order:

    score(u → v) = Σ over queries and keys of (pattern' − pattern) · ∂L/∂pattern,    pattern' = softmax(scores + J · Δ)

Δ is the exact change of the query or key, the norm before it included, and J the derivative of the scores, by autograd.
Scores are linear in the query and in the key, rotary embeddings included, so that pattern' is exact, too; but where a
norm of queries or keys, or a soft cap, lies between, J makes it first order there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.interventions.writer_outputs import Writers, heads_add
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor

QueryOrKey = Literal["q", "k"]


class AttentionRecorder:
    """Visitors that keep each layer's attention with its autograd graph, and the gradient that arrives at its pattern.

    Attributes:
        gradient: per layer, the gradient on the pattern in the latest backward pass, [batch, heads, query, key].
    """

    def __init__(self, model: ResidualModel, start: int) -> None:
        """Record a run of ``model``, whose writers change from position ``start`` on."""
        self._model, self._start = model, start
        self._recorder = SiteRecorder()
        self.gradient: dict[int, Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        return self._recorder.visitors("attn_in", "q", "k", "scores") | {"pattern": self._on_pattern}

    def _on_pattern(self, layer: int, value: Tensor) -> None:
        store = self.gradient  # not self, whose tensors lead back to this hook: none of them would ever be freed
        value.register_hook(lambda gradient: store.__setitem__(layer, gradient))  # type: ignore[no-untyped-call]

    def mixes_heads(self, index: int) -> bool:
        """Whether a head's scores depend on other heads' queries, as where one norm is over all of them (OLMo 2)."""
        scores, q = self._recorder.values["scores", index], self._recorder.values["q", index]
        first_head = torch.zeros_like(scores)
        first_head[:, 0] = 1
        (gradient,) = torch.autograd.grad(scores, q, first_head, retain_graph=True)
        return bool(gradient[:, :, 1:].any())

    def effects(
        self,
        index: int,
        slot: QueryOrKey,
        change: Writers,
        gradients: Float[Tensor, "runs batch heads query key"],
        positions: bool,
    ) -> Float[Tensor, "runs batch pos sources readers"]:
        """The effect of each edge into a layer's queries or keys, for each gradient on its pattern.

        Args:
            index: the layer; its heads must not be mixed.
            slot: queries or keys.
            change: how much every writer changes.
            gradients: on the pattern, in the dtype to compute in.
            positions: give each position of the reader the effect of its own change alone; if not, [.., 1, ..] is the
                effect of all of them together.
        """
        dtype = gradients.dtype
        scores = self._recorder.values["scores", index].detach()[:, :, self._start :].to(dtype)
        gradients = gradients[:, :, :, self._start :]
        slopes = self._slopes(index, slot).to(dtype)
        parts = []
        for added in contributions(self._model, change, index):
            moved = torch.einsum("sbphe,obphe->sbhpo", self._read(index, slot, added, dtype), slopes)
            if slot == "q":  # moved: [sources, batch, heads, query, key]
                by_query = torch.einsum("rbhqk,sbhqk->rbqsh", gradients, _moved_pattern(scores, moved, gradients))
                parts.append(by_query if positions else by_query.sum(2, keepdim=True))
            elif positions:  # moved: [sources, batch, heads, key, query]
                parts.append(_one_key_at_a_time(scores, moved.mT, gradients, self._start))
            else:
                n_after = scores.shape[3] - self._start - moved.shape[3]  # a sink, if there is one
                whole = torch.nn.functional.pad(moved, (0, 0, self._start, n_after)).mT
                together = torch.einsum("rbhqk,sbhqk->rbsh", gradients, _moved_pattern(scores, whole, gradients))
                parts.append(together[:, :, None])
        effects = torch.cat(parts, 3)
        return torch.unflatten(effects, -1, (self._recorder.values[slot, index].shape[2], -1)).sum(-1)

    def _slopes(self, index: int, slot: QueryOrKey) -> Float[Tensor, "other batch pos heads d_head"]:
        """For a query, what each key multiplies it by to give the score; for a key, each query. From ``start`` on.

        Heads that share a key are told apart by asking for one head of each group at a time. An attention sink is a
        last column that no key has. Models with one take each query's largest score off all of its scores; asked for
        less of the sink's by as many as there are keys, the key of the largest score is not blamed for that.
        """
        scores, x = self._recorder.values["scores", index], self._recorder.values[slot, index]
        n_keys = x.shape[1]
        group = scores.shape[1] // x.shape[2]
        others = range(scores.shape[3]) if slot == "q" else range(self._start, scores.shape[2])
        rows = []
        for other in others:
            heads = []
            for member in range(group):
                wanted = torch.zeros_like(scores)
                column = wanted[:, member::group]
                (column[..., other] if slot == "q" else column[:, :, other, :n_keys]).fill_(1)
                if slot == "k":
                    column[:, :, other, n_keys:].fill_(-n_keys)
                heads.append(torch.autograd.grad(scores, x, wanted, retain_graph=True)[0][:, self._start :])
            rows.append(torch.stack(heads, 3).flatten(2, 3))
        return torch.stack(rows)

    def _read(
        self, index: int, slot: QueryOrKey, added: Float[Tensor, "sources batch pos d_model"], dtype: torch.dtype
    ) -> Float[Tensor, "sources batch pos heads d_head"]:
        """How the queries or keys change with the residual stream that they read; keys once for each query head."""
        layer = self._model.layers[index]
        W, _ = layer.project(slot)
        x = self._recorder.values["attn_in", index].detach()[:, self._start :].to(dtype)
        if layer.attn_norm is not None:
            added = layer.attn_norm.apply(x + added) - layer.attn_norm.apply(x)
        moved = torch.einsum("sbpd,hde->sbphe", added.to(dtype), W.to(dtype))
        return moved.repeat_interleave(self._model.graph.n_heads // len(W), 3)


def contributions(
    model: ResidualModel, change: Writers, before: int
) -> Iterator[Float[Tensor, "sources batch pos d_model"]]:
    """What the writers before a layer's attention add, in order: the input, then each layer's heads and its MLP."""
    yield change.embed[None]
    for index in range(before):
        yield heads_add(model.layers[index], change.z[index])
        if model.graph.has_mlp:
            yield change.mlp[index][None]


def _moved_pattern(
    scores: Float[Tensor, "batch heads query key"],
    moved: Float[Tensor, "sources batch heads query key"],
    gradients: Float[Tensor, "runs batch heads query key"],
) -> Float[Tensor, "sources batch heads query key"]:
    """How the pattern changes; zero at queries that nothing depends on, which may see no key at all."""
    matters = (gradients != 0).any(0).any(-1, keepdim=True)
    return ((scores + moved).softmax(-1) - scores.softmax(-1)).where(matters, 0)


def _one_key_at_a_time(
    scores: Float[Tensor, "batch heads query key"],
    moved: Float[Tensor, "sources batch heads query changed"],
    gradients: Float[Tensor, "runs batch heads query key"],
    start: int,
) -> Float[Tensor, "runs batch changed sources heads"]:
    """The effect of each key's change alone: where p becomes p', all other weights shrink by (1 − p') / (1 − p).

    With a change m of the score, p' − p = (1 − p) · f with f = p (eᵐ − 1) / (1 + p (eᵐ − 1)), and the effect of that is
    f · (gradient at this key less the pattern's mean gradient).
    """
    matters = (gradients != 0).any(0).any(-1, keepdim=True)
    pattern = scores.softmax(-1).where(matters, 0)
    changed = slice(start, start + moved.shape[-1])
    p, grown = pattern[..., changed], -torch.expm1(-moved.abs())
    rise = p * grown / (1 - grown + p * grown).clamp_min(torch.finfo(p.dtype).tiny)  # both parts over eᵐ, if m > 0
    factor = torch.where(moved > 0, rise, -p * grown / (1 - p * grown))
    excess = gradients[..., changed] - (gradients * pattern).sum(-1, keepdim=True)
    return torch.einsum("rbhqk,sbhqk->rbksh", excess, factor)
