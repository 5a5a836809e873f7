"""Effects of edges into queries and keys, with attention's softmax recomputed (Kramár et al. 2403.00745, QK fix).

The softmax saturates, so its gradient underestimates the effect of a changed query or key. The pattern is therefore
computed anew for each writer, and only what follows the pattern is estimated to first order:

    score(u → v) = Σ over queries and keys of (pattern' − pattern) · ∂L/∂pattern,    pattern' = softmax(scores + J · Δ)

1. Δ is the change of the query or key when this head alone reads r + (c_u[corrupt] − c_u[clean]). It is exact, and
   includes the norm before the projection.
2. J is the derivative of the attention scores with respect to the query or key, from autograd. Attention scores are
   linear in the query and in the key, also with rotary embeddings, so pattern' is exact. Where queries and keys are
   normed, or scores have a soft cap, the change of the scores is first order.
3. ∂L/∂pattern is recorded during the backward pass, by a hook on the pattern.
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
    """Visitors that record each layer's attention, with its autograd graph, and the gradient on its pattern.

    Attributes:
        gradient: per layer, the gradient on the pattern in the latest backward pass, [batch, heads, query, key].
    """

    def __init__(self, model: ResidualModel, start: int) -> None:
        """Prepare to record a run of ``model``, whose writers change from position ``start`` on."""
        self._model, self._start = model, start
        self._recorder = SiteRecorder()
        self.gradient: dict[int, Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        return self._recorder.visitors("attn_in", "q", "k", "scores") | {"pattern": self._on_pattern}

    def _on_pattern(self, layer: int, value: Tensor) -> None:
        store = self.gradient  # capturing self would create a reference cycle that is never freed
        value.register_hook(lambda gradient: store.__setitem__(layer, gradient))  # type: ignore[no-untyped-call]

    def mixes_heads(self, index: int) -> bool:
        """Return whether a head's scores depend on other heads' queries, as with one norm over all heads (OLMo 2)."""
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
        """Return the effect of each edge into a layer's queries or keys, for each gradient on its pattern.

        Args:
            index: the layer, for which ``mixes_heads`` must be false.
            slot: whether the edges lead into queries or keys.
            change: the change of every writer.
            gradients: the gradients on the pattern, in the dtype to compute in.
            positions: return the effect of a change at each position of the reader alone; if false, the position axis
                has length one, for a change at all positions together.
        """
        dtype = gradients.dtype
        scores = self._recorder.values["scores", index].detach()[:, :, self._start :].to(dtype)
        gradients = gradients[:, :, :, self._start :]
        slopes = self._score_derivatives(index, slot).to(dtype)
        parts = []
        for added in contributions(self._model, change, index):
            moved = torch.einsum("sbphe,obphe->sbhpo", self._projection_change(index, slot, added, dtype), slopes)
            if slot == "q":  # moved: [sources, batch, heads, query, key]
                by_query = torch.einsum("rbhqk,sbhqk->rbqsh", gradients, _pattern_change(scores, moved, gradients))
                parts.append(by_query if positions else by_query.sum(2, keepdim=True))
            elif positions:  # moved: [sources, batch, heads, key, query]
                parts.append(_effects_of_single_keys(scores, moved.mT, gradients, self._start))
            else:
                n_after = scores.shape[3] - self._start - moved.shape[3]  # 1 if there is an attention sink
                whole = torch.nn.functional.pad(moved, (0, 0, self._start, n_after)).mT
                together = torch.einsum("rbhqk,sbhqk->rbsh", gradients, _pattern_change(scores, whole, gradients))
                parts.append(together[:, :, None])
        effects = torch.cat(parts, 3)
        return torch.unflatten(effects, -1, (self._recorder.values[slot, index].shape[2], -1)).sum(-1)

    def _score_derivatives(self, index: int, slot: QueryOrKey) -> Float[Tensor, "other batch pos heads d_head"]:
        """Return the derivative of the attention scores with respect to queries or keys, from position ``start`` on.

        For queries, ``other`` is the key of each score; for keys, it is the query. Query heads that share a key are
        separated by differentiating the scores of one head of each group at a time.

        An attention sink is an additional last column of the scores that belongs to no key. Models with a sink subtract
        each query's largest score from all of its scores. So that this does not enter the derivative of the key with
        the largest score, the sink's score is differentiated with a weight of minus the number of keys.
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

    def _projection_change(
        self, index: int, slot: QueryOrKey, added: Float[Tensor, "sources batch pos d_model"], dtype: torch.dtype
    ) -> Float[Tensor, "sources batch pos heads d_head"]:
        """Return the change of queries or keys when ``added`` is added to their input; keys once per query head."""
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
    """Yield the changes of the writers before a layer's attention: the input, then each layer's heads and MLP."""
    yield change.embed[None]
    for index in range(before):
        yield heads_add(model.layers[index], change.z[index])
        if model.graph.has_mlp:
            yield change.mlp[index][None]


def _pattern_change(
    scores: Float[Tensor, "batch heads query key"],
    moved: Float[Tensor, "sources batch heads query key"],
    gradients: Float[Tensor, "runs batch heads query key"],
) -> Float[Tensor, "sources batch heads query key"]:
    """Return the change of the pattern.

    It is zero at queries with zero gradient, such as padding, whose scores may all be masked.
    """
    matters = (gradients != 0).any(0).any(-1, keepdim=True)
    return ((scores + moved).softmax(-1) - scores.softmax(-1)).where(matters, 0)


def _effects_of_single_keys(
    scores: Float[Tensor, "batch heads query key"],
    moved: Float[Tensor, "sources batch heads query changed"],
    gradients: Float[Tensor, "runs batch heads query key"],
    start: int,
) -> Float[Tensor, "runs batch changed sources heads"]:
    """Return the effect of changing each key alone.

    If a key's weight changes from p to p', all other weights of the pattern are multiplied by (1 − p') / (1 − p). With
    a change m of the score, p' − p = (1 − p) · f where f = p (eᵐ − 1) / (1 + p (eᵐ − 1)), and the effect is
    f · (gradient at this key − mean of the gradient under the pattern).
    """
    matters = (gradients != 0).any(0).any(-1, keepdim=True)
    pattern = scores.softmax(-1).where(matters, 0)
    changed = slice(start, start + moved.shape[-1])
    p, grown = pattern[..., changed], -torch.expm1(-moved.abs())
    rise = p * grown / (1 - grown + p * grown).clamp_min(torch.finfo(p.dtype).tiny)  # both divided by eᵐ if m > 0
    factor = torch.where(moved > 0, rise, -p * grown / (1 - p * grown))
    excess = gradients[..., changed] - (gradients * pattern).sum(-1, keepdim=True)
    return torch.einsum("rbhqk,sbhqk->rbksh", excess, factor)
