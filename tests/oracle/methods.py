"""Gradient methods from their definitions: what each writer changes, times gradients of runs that are moved.

A *place* is where writers add to the residual stream: ``input``, ``a0`` (a layer's heads together), ``m0``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from tests.oracle.brute_force import Edge, Metric, Reader, difference, products, reader_gradients, readers
from tests.oracle.layout import LAYOUTS, Layout
from tests.oracle.padded import Padded
from tests.oracle.writers import first, observe

Gradients = dict[Reader, Tensor]


class Oracle:
    """One model of the zoo and prompts: what every writer changes, and gradients at readers and at places."""

    def __init__(
        self,
        model: Any,
        name: str,
        prompts: Sequence[Tensor],
        ablation: str = "corrupt",
        *,
        mask: Tensor | None = None,
        metric: Metric | None = None,
    ) -> None:
        """Take the clean run apart, and what it is to be changed to.

        Args:
            model: a plain Hugging Face causal language model in eval mode.
            name: its name in ``tests.support.zoo``.
            prompts: clean and corrupt token ids [batch, pos], right and wrong answers [batch, n].
            ablation: as the library calls it.
            mask: true at real tokens, false at padding; all are real by default.
            metric: what to judge by; by default the mean right logit less the mean wrong one.
        """
        self.model, self.layout = model if mask is None else Padded(model, mask), LAYOUTS[name]
        self.clean, self.corrupt, answers, wrong = prompts
        self.real = torch.ones_like(self.clean, dtype=torch.bool) if mask is None else mask
        self.metric = metric or difference(answers, wrong)
        self.run = observe(self.model, self.layout, self.clean)
        corrupt = observe(self.model, self.layout, self.corrupt).written
        self.other = {writer: self._target(ablation, added) for writer, added in corrupt.items()}
        self.change = {writer: self.other[writer] - added for writer, added in self.run.written.items()}

    def _target(self, ablation: str, corrupt: Tensor) -> Tensor:
        """Return what a writer is changed to; it adds ``corrupt`` on the corrupt prompts, [batch, pos, d_model]."""
        if ablation == "corrupt":
            return corrupt
        if ablation == "zero":
            return torch.zeros_like(corrupt)
        over = {"mean": (0, 1), "mean-per-position": (0,)}[ablation]
        real = self.real[..., None].to(corrupt.dtype)
        total = (corrupt * real).sum(dim=over, keepdim=True)
        return (total / real.sum(dim=over, keepdim=True).clamp_min(1)).expand_as(corrupt)

    @property
    def n_layers(self) -> int:
        """How many layers there are."""
        return len(self.model.get_submodule(self.layout.layers))

    @property
    def readers(self) -> list[Reader]:
        """All readers, in order."""
        return readers(self.layout, self.n_layers)

    @property
    def places(self) -> list[str]:
        """All places, in order."""
        return ["input", *(f"{kind}{layer}" for layer in range(self.n_layers) for kind in "am")]

    def way(self, place: str) -> Tensor:
        """Return the change of all writers at a place together."""
        return torch.stack([x for writer, x in self.change.items() if place_of(writer) == place]).sum(dim=0)

    def gradients(self, tokens: Tensor | None = None) -> Gradients:
        """Compute the gradient at every reader, on the clean prompts or others."""
        return reader_gradients(self.model, self.layout, self.clean if tokens is None else tokens, self.metric)

    def moved(self, place: str, corruption: float) -> Gradients:
        """Compute the same with one place interpolated towards the corrupt run."""
        with adding(self.model, self.layout, place, corruption * self.way(place)):
            return self.gradients()

    def held(self, place: str, corruption: float) -> Gradients:
        """Take the same gradients with a place's output given, so that none flows to what is before it."""
        with adding(self.model, self.layout, place, corruption * self.way(place), self._added(place)):
            return self.gradients()

    def _added(self, place: str) -> Tensor | None:
        """Return a place's output on the clean run; ``None`` for the input, which has nothing before it."""
        if place == "input":
            return None
        seen: list[Tensor] = []
        module = _adding_module(self.model, self.layout, place)
        handle = module.register_forward_hook(lambda module, args, output: seen.append(first(output).clone()))
        with torch.no_grad():
            self.loss()
        handle.remove()
        return seen[0]

    def loss(self, tokens: Tensor | None = None) -> Tensor:
        """Minus the metric, averaged over the clean prompts or others."""
        logits = self.model(self.clean if tokens is None else tokens, use_cache=False).logits[:, -1]
        return -self.metric(logits).mean()

    def scores(self, *gradients: Gradients) -> dict[Edge, Tensor]:
        """Average every edge's product over runs, [pos]."""
        found = [products(self.change, run, self.run.feeding) for run in gradients]
        return {edge: torch.stack([one[edge] for one in found]).mean(dim=0) for edge in found[0]}

    def neurons(self, writer: str, corruption: float = 0.0) -> Tensor:
        """Multiply a writer's change in each dimension by the gradient there, [d_model].

        Plain autograd on what the writer's place adds, with the input gone part of its way.
        """
        more = torch.zeros_like(self.run.written["input"]).requires_grad_()
        with (
            adding(self.model, self.layout, "input", corruption * self.way("input")),
            adding(self.model, self.layout, place_of(writer), more),
        ):
            loss = self.loss()
        (gradient,) = torch.autograd.grad(loss, more)
        return (self.change[writer] * gradient).sum(dim=(0, 1))


def eap_ig_inputs(oracle: Oracle, corruptions: Sequence[float]) -> dict[Edge, Tensor]:
    """Average over points on the line between the input embeddings."""
    return oracle.scores(*(oracle.moved("input", corruption) for corruption in corruptions))


def clean_corrupted(oracle: Oracle) -> dict[Edge, Tensor]:
    """Average over both prompts."""
    return oracle.scores(oracle.gradients(), oracle.gradients(oracle.corrupt))


def eap_ig_activations(oracle: Oracle, corruptions: Sequence[float]) -> dict[Edge, Tensor]:
    """Average, for the edges from each place, over points on that place's own line."""
    found = {}
    for place in oracle.places:
        scores = oracle.scores(*(oracle.moved(place, corruption) for corruption in corruptions))
        found |= {edge: score for edge, score in scores.items() if place_of(edge[0]) == place}
    return found


def eap_ig_activations_of_all(oracle: Oracle, corruptions: Sequence[float]) -> dict[Edge, Tensor]:
    """For every edge, the mean over all points of all places' lines."""
    return oracle.scores(*(oracle.held(place, corruption) for place in oracle.places for corruption in corruptions))


def eap_gp(oracle: Oracle, steps: int, length: float) -> dict[Edge, Tensor]:
    """Average over the points of a path of embeddings that descends the distance to the corrupt run's logits."""
    model, layout = oracle.model, oracle.layout
    with torch.no_grad():
        target = model(oracle.corrupt, use_cache=False).logits[:, -1]
    gone, runs = torch.zeros_like(oracle.run.written["input"]), []
    for _ in range(steps):
        leaf = gone.clone().requires_grad_()
        with adding(model, layout, "input", leaf):
            distances = (model(oracle.clean, use_cache=False).logits[:, -1] - target).square().sum(dim=1)
        slopes = [torch.autograd.grad(distance, leaf, retain_graph=True)[0][i] for i, distance in enumerate(distances)]
        gone = gone - length * torch.stack([slope / slope.square().sum().sqrt() for slope in slopes])
        with adding(model, layout, "input", gone):
            runs.append(oracle.gradients())
    return oracle.scores(*runs)


def place_of(writer: str) -> str:
    """Return the place of a writer: ``a0`` for ``a0.h3``."""
    return writer.partition(".")[0]


@contextmanager
def adding(model: Any, layout: Layout, place: str, more: Tensor, given: Tensor | None = None) -> Iterator[None]:
    """Add ``more`` [batch, pos, d_model] to the output of the writers at a place, inside the context."""

    def on_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (args[0] + more, *args[1:])

    def on_output(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> Any:
        if isinstance(output, tuple):
            return (on_output(module, args, output[0]), *output[1:])
        more_here = more.reshape(output.shape) / layout.residual_multiplier
        return (output if given is None else given + 0 * output) + more_here

    if place == "input":
        handle = model.get_submodule(f"{layout.layers}.0").register_forward_pre_hook(on_input)
    else:
        handle = _adding_module(model, layout, place).register_forward_hook(on_output)
    try:
        yield
    finally:
        handle.remove()


def _adding_module(model: Any, layout: Layout, place: str) -> nn.Module:
    """Find the module whose output is added to the residual stream."""
    if place.startswith("a"):
        return layout.part(model, int(place[1:]), layout.attn_post_norm or layout.o)
    return layout.part(model, int(place[1:]), layout.mlp_post_norm or layout.mlp_out)
