"""AtP* by brute force on plain Hugging Face models: one edge and one prompt at a time, one dropped layer at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracle.brute_force import Edge, Reader, oracle_scores, readers, reading
from tests.oracle.changed_backward import Backward
from tests.oracle.layout import LAYOUTS, Layout
from tests.oracle.writers import observe


@contextmanager
def seen_patterns() -> Iterator[list[Tensor]]:
    """Record the attention patterns, [batch, heads, query, key], of the run inside the context, one per layer."""
    seen: list[Tensor] = []

    def softmax(x: Tensor, dim: int = -1, _stacklevel: int = 3, dtype: torch.dtype | None = None) -> Tensor:
        pattern = x.softmax(dim, dtype=dtype)
        if x.ndim == 4:
            seen.append(pattern)
        return pattern

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "softmax", softmax)
        yield seen


@contextmanager
def dropped(model: Any, layout: Layout, layer: int | None) -> Iterator[None]:
    """Block gradients through what a layer's attention and MLP add to the residual stream, inside the context."""
    modules = [] if layer is None else [layout.part(model, layer, path) for path in (layout.o, layout.mlp_out)]

    def drop(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (drop(module, args, output[0]), *output[1:])
        return Backward.apply(output, output.detach(), lambda g: 0 * g)

    handles = [module.register_forward_hook(drop) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attention_effects(
    model: Any, name: str, prompts: Sequence[Tensor], layer: int | None = None, position: int | None = None
) -> dict[Edge, float]:
    """Multiply, for every edge into a query or key, its exact change of the patterns by the patterns' gradient.

    Args:
        model: a plain model.
        name: its name in ``tests.support.zoo``.
        prompts: clean and corrupt tokens, right and wrong answers.
        layer: the layer to drop.
        position: change the reader at this position alone.
    """
    clean, corrupt, answers, wrong = prompts
    layout = LAYOUTS[name]
    before, after = observe(model, layout, clean), observe(model, layout, corrupt)
    with dropped(model, layout, layer), seen_patterns() as patterns:
        embedding = model.get_input_embeddings().register_forward_hook(lambda m, x, y: y.detach().requires_grad_())
        logits = model(clean, use_cache=False).logits[:, -1]
        embedding.remove()
    loss = (logits.gather(1, wrong).mean(1) - logits.gather(1, answers).mean(1)).mean()
    gradients = torch.autograd.grad(loss, patterns)
    effects = {}
    for reader in readers(layout, len(model.get_submodule(layout.layers))):
        if reader.kind not in "qk":
            continue
        for writer in before.feeding[reader.stream]:
            change = after.written[writer] - before.written[writer]
            if position is not None:
                change = change * (torch.arange(change.shape[1]) == position)[None, :, None]
            moved = _pattern(model, layout, reader, before.read[reader.stream] + change, clean)
            moved -= patterns[reader.layer].detach()
            effects[writer, reader.name] = float((moved * gradients[reader.layer]).sum())
    return effects


@torch.no_grad()
def _pattern(model: Any, layout: Layout, reader: Reader, residual: Tensor, tokens: Tensor) -> Tensor:
    """Compute the attention pattern of a reader's layer if only this reader reads ``residual``."""
    with seen_patterns() as patterns, reading(model, layout, reader, residual):
        model(tokens, use_cache=False)
    return patterns[reader.layer]


def atp_star(model: Any, name: str, prompts: Sequence[Tensor]) -> dict[Edge, float]:
    """AtP* with gradient drop: the mean over prompts, and over layers but the reader's, of an edge's absolute effects.

    For models whose scores are linear in the query and in the key.
    """
    layout = LAYOUTS[name]
    n_layers, n_prompts = len(model.get_submodule(layout.layers)), len(prompts[0])
    total: dict[Edge, float] = {}
    own = {reader.name: reader.layer for reader in readers(layout, n_layers) if reader.kind != "logits"}
    for prompt in range(n_prompts):
        one = [part[prompt : prompt + 1] for part in prompts]
        for layer in range(n_layers):
            with dropped(model, layout, layer):
                effects = oracle_scores(model, name, *one)
            effects |= attention_effects(model, name, one, layer)
            for edge, effect in effects.items():
                n_runs = n_layers - (edge[1] in own)
                counts = own.get(edge[1]) != layer
                total[edge] = total.get(edge, 0.0) + counts * abs(effect) / n_runs / n_prompts
    return total
