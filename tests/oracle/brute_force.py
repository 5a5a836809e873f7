"""Edge scores from their definition: one reader at a time reads its own copy of the residual stream.

For L = -mean over the batch of the metric, with the gradient taken on the clean run,

    score(u -> v) = sum over batch, position and d_model of (c_u[corrupt] - c_u[clean]) * dL/dr_v

where c_u is what writer u adds to the residual stream and r_v the residual stream as reader v alone reads it,
before its norm. Names are those of EAP-IG: ``input``, ``a0.h1`` and ``m0`` write; ``a0.h1<q>``, ``a0.h1<k>``,
``a0.h1<v>``, ``m0`` and ``logits`` read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tests.oracle.layout import LAYOUTS, Layout
from tests.oracle.writers import Run, observe, watch

Edge = tuple[str, str]
"""The names of a writer and of a later reader."""

Metric = Callable[[Tensor], Tensor]
"""From the last position's logits, [batch, vocab], to one number per prompt, [batch]."""


@dataclass(frozen=True)
class Reader:
    """A reader: its name, its kind (q, k, v, mlp or logits), and the layer and head where it has them."""

    name: str
    kind: str
    layer: int = 0
    head: int = 0

    @property
    def stream(self) -> str:
        """The name, in ``Run.read``, of the residual stream that it reads."""
        return f"a{self.layer}" if self.kind in "qkv" else self.name


def readers(layout: Layout, n_layers: int) -> list[Reader]:
    """List all readers of a model, in order."""
    found = []
    for layer in range(n_layers):
        for kind, slots in layout.heads.items():
            found += [Reader(f"a{layer}.h{h}<{kind}>", kind, layer, h) for h in range(len(slots))]
        found.append(Reader(f"m{layer}", "mlp", layer))
    return [*found, Reader("logits", "logits")]


def oracle_scores(
    model: Any,
    name: str,
    clean: Tensor,
    corrupt: Tensor,
    answers: Tensor,
    wrong: Tensor,
    *,
    metric: Metric | None = None,
    positions: bool = False,
) -> dict[Edge, Any]:
    """Compute the score of every edge of ``model``, the zoo's model called ``name``.

    Args:
        model: a plain Hugging Face causal language model in eval mode.
        name: its name in ``tests.support.zoo``.
        clean: token ids of the clean prompts, [batch, pos].
        corrupt: token ids of the corrupt prompts, [batch, pos].
        answers: ids of the right next tokens, [batch, n].
        wrong: ids of the wrong next tokens, [batch, n].
        metric: what to judge by; by default the mean right logit less the mean wrong one.
        positions: give a float64 tensor [pos] per edge, whose sum is the score, instead of a float.
    """
    layout = LAYOUTS[name]
    before, after = observe(model, layout, clean), observe(model, layout, corrupt)
    change = {writer: after.written[writer] - added for writer, added in before.written.items()}
    gradients = reader_gradients(model, layout, clean, metric or difference(answers, wrong))
    found = products(change, gradients, before.feeding)
    by_position = {edge: score.sum(dim=(0, 2)) for edge, score in found.items()}
    return by_position if positions else {edge: score.sum().item() for edge, score in by_position.items()}


def reader_gradients(model: Any, layout: Layout, tokens: Tensor, metric: Metric) -> dict[Reader, Tensor]:
    """Compute the gradient of L at the input of each single reader, [batch, pos, d_model]."""
    streams, gradients = watch(model, layout, tokens), {}
    for reader in readers(layout, len(model.get_submodule(layout.layers))):
        leaf = streams[reader.stream].detach().clone().requires_grad_()
        (gradients[reader],) = torch.autograd.grad(_loss(model, layout, reader, leaf, tokens, metric), leaf)
    return gradients


def products(
    change: dict[str, Tensor], gradients: dict[Reader, Tensor], feeding: dict[str, tuple[str, ...]]
) -> dict[Edge, Tensor]:
    """Multiply, for every edge, the change of its writer by the gradient at its reader, float64 [pos]."""
    return {
        (writer, reader.name): change[writer].double() * gradient.double()
        for reader, gradient in gradients.items()
        for writer in feeding[reader.stream]
    }


@torch.no_grad()
def finite_difference(
    model: Any,
    name: str,
    edge: Edge,
    clean: Tensor,
    corrupt: Tensor,
    answers: Tensor,
    wrong: Tensor,
    *,
    metric: Metric | None = None,
    step: float = 1e-5,
) -> float:
    """Compute the score of one edge without autograd: the slope of L as only that edge moves from clean to corrupt.

    With ``step`` as it is, ``model`` must be float64 and this must run within ``InFloat64``.
    """
    layout = LAYOUTS[name]
    before, after = observe(model, layout, clean), observe(model, layout, corrupt)
    (reader,) = (r for r in readers(layout, len(model.get_submodule(layout.layers))) if r.name == edge[1])
    residual, change = before.read[reader.stream], _change(before, after, edge[0])
    up, down = (
        _loss(
            model,
            layout,
            reader,
            residual + sign * step * change,
            clean,
            metric or difference(answers, wrong),
        )
        for sign in (1, -1)
    )
    return ((up - down) / (2 * step)).item()


def difference(answers: Tensor, wrong: Tensor) -> Metric:
    """Compute the mean right logit minus the mean wrong one."""
    return lambda logits: logits.gather(1, answers).mean(dim=1) - logits.gather(1, wrong).mean(dim=1)


def _change(before: Run, after: Run, writer: str) -> Tensor:
    return after.written[writer] - before.written[writer]


def _loss(model: Any, layout: Layout, reader: Reader, residual: Tensor, tokens: Tensor, metric: Metric) -> Tensor:
    """Compute L if only this reader reads ``residual`` [batch, pos, d_model]."""
    with reading(model, layout, reader, residual):
        return -metric(model(tokens, use_cache=False).logits[:, -1]).mean()


@contextmanager
def reading(model: Any, layout: Layout, reader: Reader, residual: Tensor) -> Iterator[None]:
    """Let only this reader read ``residual`` [batch, pos, d_model] inside the context."""

    def replace_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (normed.reshape(args[0].shape),)

    def replace_slot(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        mixed = output.clone()
        slot.part(mixed).copy_(slot.part(module.forward(normed)))  # .forward: no hooks, so not this one again
        return mixed

    if reader.kind == "logits":
        normed = residual
        handle = model.get_submodule(layout.final_norm).register_forward_pre_hook(replace_input)
    elif reader.kind == "mlp":
        normed = layout.part(model, reader.layer, layout.mlp_norm)(residual)
        handle = layout.part(model, reader.layer, layout.mlp_in).register_forward_pre_hook(replace_input)
    else:
        normed = layout.part(model, reader.layer, layout.attn_norm)(residual)
        slot = layout.heads[reader.kind][reader.head]
        handle = layout.part(model, reader.layer, slot.path).register_forward_hook(replace_slot)
    try:
        yield
    finally:
        handle.remove()
