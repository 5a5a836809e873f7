"""AtP* (Kramár et al. 2024, arXiv 2403.00745) on edges: attention recomputed for q and k, and gradient drop.

Gradient drop takes the gradient once for each layer, with nothing going back through what that layer adds to the
residual stream, and averages absolute effects: a direct effect that an indirect one cancels is seen again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.algorithm.gradient.recomputed_attention import AttentionRecorder
from eap_plugin.algorithm.gradient.scorer import EdgeScorer
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import GradientRecorder, ReaderGradients, WriterRecorder, merge
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site, Visitor

R = TypeVar("R", Writers, ReaderGradients)


@dataclass(frozen=True)
class AtPStarOptions(GradientOptions):
    """What can be chosen."""

    level: Literal["edge", "node"] = option("edge", help="score edges, or writers (node): these by gradient drop alone")
    grad_drop: bool = option(
        True,
        help="mean over the layers of absolute effects of each prompt pair, with that layer's part of the gradient "
        "dropped; if false, one backward pass and signed scores",
    )


class AtPStar(GradientAlgorithm[AtPStarOptions]):
    """EAP with two remedies for edges that it misses: saturated attention, and effects that cancel."""

    name = "atp-star"
    summary = "AtP*: EAP with attention's softmax recomputed for q and k, and gradient drop; no signs"
    reference = "Kramár et al. 2024, arXiv 2403.00745"
    gradient_run = "clean"
    sign = "none with gradient drop, which gives sizes; without, positive: corrupting this edge alone lowers the metric"
    options = AtPStarOptions

    def cost(self, options: AtPStarOptions, graph: Graph) -> Cost:
        """One forward pass on the corrupt prompts, one on the clean ones, and back once for each dropped layer."""
        return Cost(forwards=1 + options.ablation_passes, backwards=len(_runs(graph, options)))

    def score_microbatch(self, context: ScoringContext, options: AtPStarOptions) -> tuple[float, float | None]:
        """See ``GradientAlgorithm.score_microbatch``."""
        model, graph = context.model, context.model.graph
        other, on_corrupt = context.corrupt()
        clean, readers = WriterRecorder(model, context.start), GradientRecorder(model, context.start)
        attention, drop = AttentionRecorder(model, context.start), LayerDrop(graph)
        recompute = attention.visitors() if options.level == "edge" else {}
        logits = context.forward(
            context.batch.clean, merge(drop.visitors(), recompute, clean.visitors(), readers.visitors())
        )
        value = context.share * context.metric(logits, context.batch)
        change = context.change(other, clean.writers())
        first_order = FirstOrder(context, change, options.positions)
        shares = _shares(graph, options).to(context.scorer.matrix)
        total = torch.zeros_like(first_order.matrix)
        at_pattern: list[dict[int, Tensor]] = []
        for layer, share in zip(_runs(graph, options), shares, strict=True):
            drop.layer = layer
            total += share * _sized(first_order.scores(readers.gradients(-value, keep_graph=True)), options)
            at_pattern.append(dict(attention.gradient))
        for index in at_pattern[0]:
            if attention.mixes_heads(index):
                continue
            gradients = torch.stack([run[index] for run in at_pattern]).to(total.dtype)
            for slot in ("q", "k"):
                effects = attention.effects(index, slot, change, gradients, options.positions)
                cut, first = effects.shape[-2], graph.columns[f"a{index}.h0<{slot}>"]
                columns = slice(first, first + effects.shape[-1])
                weighted = shares[:, None, None, :cut, columns] * _sized(effects, options)
                total[:, :, :cut, columns] = weighted.sum(0)
        where = slice(context.start, context.start + total.shape[1]) if options.positions else slice(0, 1)
        context.scorer.matrix[where] += total.sum(0)
        return float(value.detach()), on_corrupt


class LayerDrop:
    """Visitors for which a backward pass leaves out what one layer adds to the residual stream.

    Attributes:
        layer: the layer; ``None`` for a plain backward pass.
    """

    def __init__(self, graph: Graph) -> None:
        """Nothing is dropped yet."""
        self.layer: int | None = None
        self._has_mlp = graph.has_mlp

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        visit: dict[Site, Visitor] = {"attn_out": self._watch}
        return visit | ({"mlp_out": self._watch} if self._has_mlp else {})

    def _watch(self, layer: int, value: Tensor) -> None:
        value.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: torch.zeros_like(gradient) if layer == self.layer else gradient
        )


class FirstOrder:
    """First-order scores with prompts kept apart.

    Attributes:
        matrix: the scores of the latest backward pass.
    """

    matrix: Float[Tensor, "batch pos sources readers"]

    def __init__(self, context: ScoringContext, change: Writers, positions: bool) -> None:
        """Prepare one piece of the data.

        Args:
            context: the piece.
            change: how much every writer changes.
            positions: keep positions apart, too; if not, there is one.
        """
        self._positions = positions
        batch, n_pos, _ = change.embed.shape
        self._scorer = EdgeScorer(context.model, context.scorer.matrix.dtype, batch * n_pos if positions else batch)
        self._change = self._apart(change)
        self.matrix = torch.unflatten(self._scorer.matrix, 0, (batch, -1))

    def scores(self, gradients: ReaderGradients) -> Float[Tensor, "batch pos sources readers"]:
        """The scores of one backward pass, in memory that the next one uses again."""
        with torch.no_grad():
            self._scorer.matrix.zero_()
            self._scorer.add(self._change, self._apart(gradients))
        return self.matrix

    def _apart(self, record: R) -> R:
        """What is to be kept apart where a scorer expects positions."""

        def move(x: Tensor) -> Tensor:
            return x.flatten(0, 1)[None] if self._positions else x.transpose(0, 1)

        moved: dict[str, Any] = dict(vars(record))
        for name, part in moved.items():
            if isinstance(part, list):
                moved[name] = [move(x) for x in part]
            elif isinstance(part, Tensor):
                moved[name] = move(part)
        return replace(record, **moved)


def _runs(graph: Graph, options: AtPStarOptions) -> Sequence[int | None]:
    """The layer to drop in each backward pass; a plain one where there is no other layer to drop."""
    return range(graph.n_layers) if options.grad_drop and graph.n_layers > 1 else [None]


def _shares(graph: Graph, options: AtPStarOptions) -> Float[Tensor, "runs sources readers"]:
    """How each backward pass counts in each score: means over those that do not drop an edge's reader, or a node."""
    runs = _runs(graph, options)
    counts = torch.ones(len(runs), len(graph.sources), len(graph.readers))
    for layer in range(len(runs) if len(runs) > 1 else 0):
        if options.level == "node":
            counts[layer, graph.head_row(layer) : graph.head_row(layer + 1)] = 0
        else:
            own = [c for c, reader in enumerate(graph.readers) if reader.layer == layer and reader.slot != "logits"]
            counts[layer, :, own] = 0
    return counts / counts.sum(0)


def _sized(scores: Float[Tensor, "*run sources readers"], options: AtPStarOptions) -> Tensor:
    """With gradient drop without signs: an edge's size, or parts of a node's that add up to its size."""
    if not options.grad_drop:
        return scores
    return scores * scores.sum(-1, keepdim=True).sign() if options.level == "node" else scores.abs()
