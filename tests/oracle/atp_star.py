"""AtP* from its definition on plain Hugging Face models, with first-order scores of attention by forward-mode autograd.

Where scores are linear in queries and keys these are the real ones, which ``tests.oracle.recomputed`` takes.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from tests.oracle.brute_force import Edge, Reader
from tests.oracle.methods import Oracle
from tests.oracle.recomputed import dropped, seen_patterns


def atp_star_edges(oracle: Oracle, *, drop: bool, positions: bool) -> dict[Edge, Tensor]:
    """Every edge's score, [pos] or [1]; with gradient drop the mean over layers, but the reader's, of absolute effects.

    Args:
        oracle: the model and its prompts.
        drop: drop each layer's part of the gradient in turn, and take absolute effects of each prompt.
        positions: score what the reader does at each position alone.
    """
    moved = _moved_patterns(oracle, positions)
    own = {r.name: r.layer for r in oracle.readers if r.kind != "logits"}
    found: dict[Edge, list[Tensor]] = {}
    for layer in _layers(oracle, drop):
        with dropped(oracle.model, oracle.layout, layer):
            first_order, at_patterns = oracle.scores(oracle.gradients()), _pattern_gradients(oracle)
        for edge, product in first_order.items():
            effect = product.sum(dim=2)
            if edge in moved:
                slope = at_patterns[int(edge[1][1 : edge[1].index(".")])]
                effect = (moved[edge] * slope).sum(dim=(-3, -2, -1)).T
            elif not positions:
                effect = effect.sum(dim=1, keepdim=True)
            if layer is None or own.get(edge[1]) != layer:
                found.setdefault(edge, []).append(effect.abs() if drop else effect)
    return {edge: torch.stack(effects).mean(dim=0).sum(dim=0) for edge, effects in found.items()}


def atp_star_nodes(oracle: Oracle, *, drop: bool, positions: bool) -> dict[str, Tensor]:
    """Every writer's score, [pos] or [1]: its edges' first-order effects together, likewise without its own layer."""
    found: dict[str, list[Tensor]] = {}
    for layer in _layers(oracle, drop):
        with dropped(oracle.model, oracle.layout, layer):
            first_order = oracle.scores(oracle.gradients())
        for writer in oracle.change:
            effect = torch.stack([x.sum(dim=2) for edge, x in first_order.items() if edge[0] == writer]).sum(dim=0)
            effect = effect if positions else effect.sum(dim=1, keepdim=True)
            if writer == "input" or layer is None or int(writer[1 : 1 + len(str(layer))]) != layer:
                found.setdefault(writer, []).append(effect.abs() if drop else effect)
    return {writer: torch.stack(effects).mean(dim=0).sum(dim=0) for writer, effects in found.items()}


def _layers(oracle: Oracle, drop: bool) -> list[int | None]:
    return list(range(oracle.n_layers)) if drop and oracle.n_layers > 1 else [None]


def _pattern_gradients(oracle: Oracle) -> tuple[Tensor, ...]:
    """Return the gradient of L at every layer's pattern, [batch, heads, query, key]."""
    embedding = oracle.model.get_input_embeddings()
    handle = embedding.register_forward_hook(lambda module, args, output: output.detach().requires_grad_())
    with seen_patterns() as patterns:
        loss = oracle.loss()
    handle.remove()
    return torch.autograd.grad(loss, patterns)


def _moved_patterns(oracle: Oracle, positions: bool) -> dict[Edge, Tensor]:
    """How each edge into a query or key changes its layer's pattern, [pos or 1, batch, heads, query, key].

    Not in layers where a head's scores depend on other heads' queries: there the effect is first order throughout.
    """
    moved: dict[Edge, Tensor] = {}
    mixed: set[int] = set()
    for reader in oracle.readers:
        if reader.kind not in "qk" or reader.layer in mixed:
            continue
        writers = oracle.run.feeding[reader.stream]
        scores, tangent = _scores(oracle, reader, writers, positions)
        if reader.kind == "q" and tangent.abs().amax(dim=(0, 1, 2, 4, 5)).count_nonzero() > 1:
            mixed.add(reader.layer)
            continue
        change = (scores + tangent).softmax(-1) - scores.softmax(-1)
        moved |= {(writer, reader.name): one for writer, one in zip(writers, change, strict=True)}
    return moved


@torch.no_grad()
def _scores(oracle: Oracle, reader: Reader, writers: tuple[str, ...], positions: bool) -> tuple[Tensor, Tensor]:
    """Compute a layer's attention scores and their first-order change, [writers, pos or 1, batch, heads, query, key].

    In a copy of the prompts for each writer, and for each position if wanted, the reader alone reads what it changes.
    """
    layout, slot = oracle.layout, oracle.layout.heads[reader.kind][reader.head]
    read = oracle.run.read[reader.stream]
    n_pos = read.shape[1]
    where = torch.eye(n_pos, dtype=read.dtype) if positions else torch.ones(1, n_pos, dtype=read.dtype)
    change = torch.stack([oracle.change[writer] for writer in writers])
    copies = (change[:, None] * where[None, :, None, :, None]).flatten(0, 2)
    norm = layout.part(oracle.model, reader.layer, layout.attn_norm)
    project = layout.part(oracle.model, reader.layer, slot.path)
    here = read.repeat(len(writers) * len(where), 1, 1)
    difference = project(norm(here + copies)) - project(norm(here))
    tangent = torch.zeros_like(difference)
    slot.part(tangent).copy_(slot.part(difference))
    tokens = oracle.clean.repeat(len(writers) * len(where), 1)
    with forward_ad.dual_level():
        handle = project.register_forward_hook(lambda module, args, output: forward_ad.make_dual(output, tangent))
        both = forward_ad.unpack_dual(_scores_of(oracle, tokens, reader.layer))
        handle.remove()
    shape = (len(writers), len(where), len(read))
    return both.primal.unflatten(0, shape), both.tangent.unflatten(0, shape)


class _ScoresError(Exception):
    """A run has come to the attention scores that it was made for; these are its argument."""


def _scores_of(oracle: Oracle, tokens: Tensor, layer: int) -> Tensor:
    """Return the input of a layer's softmax; the run stops there, since some models have no tangents behind it."""
    n_seen = 0

    def softmax(x: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
        nonlocal n_seen
        if x.ndim == 4 and n_seen == layer:
            raise _ScoresError(x)
        n_seen += x.ndim == 4
        return x.softmax(dim, dtype=dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "softmax", softmax)
        with pytest.raises(_ScoresError) as arrived:
            oracle.model(tokens, use_cache=False)
    scores: Tensor = arrived.value.args[0]
    return scores
