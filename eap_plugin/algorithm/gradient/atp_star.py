"""AtP* (Kramár et al. 2024, arXiv 2403.00745) on edges: EAP with recomputed attention and gradient drop.

1. Run the clean prompts once, recording writers, readers and attention, and keep the autograd graph.
2. For each layer, run the backward pass with a zero gradient at what this layer adds to the residual stream. This is
   gradient drop: it reveals a direct effect that is cancelled by an indirect effect through the layer.
3. For each of these gradients, score all edges to first order, with prompts kept apart.
4. Replace the scores of edges into queries and keys by those with attention's softmax recomputed
   (``recomputed_attention``).
5. Take absolute values per prompt, average over the dropped layers except the reader's own, and sum over prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.base import GradientAlgorithm, GradientOptions, ScoringContext
from eap_plugin.algorithm.gradient.edge_scorer import EdgeScorer
from eap_plugin.algorithm.gradient.recomputed_attention import AttentionRecorder
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import GradientRecorder, R, ReaderGradients, WriterRecorder, mapped, merge
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site, Visitor


@dataclass(frozen=True)
class AtPStarOptions(GradientOptions):
    """The options of AtP*."""

    level: Literal["edge", "node"] = option(
        "edge", help="what to score: edges, or writers (node), without recomputed attention"
    )
    grad_drop: bool = option(
        True,
        help="drop each layer's gradient in turn, and average the absolute effects per prompt pair; if false, one "
        "backward pass and signed scores",
    )


class AtPStar(GradientAlgorithm[AtPStarOptions]):
    """EAP with corrections for the edges that it underestimates: saturated attention, and effects that cancel."""

    name = "atp-star"
    summary = "AtP*: EAP with recomputed attention for q and k, and gradient drop; unsigned"
    reference = "Kramár et al. 2024, arXiv 2403.00745"
    gradient_run = "clean"
    sign = "none with gradient drop (magnitudes); without, positive: corrupting this edge alone lowers the metric"
    options = AtPStarOptions

    def cost(self, options: AtPStarOptions, graph: Graph) -> Cost:
        """Count a forward pass on corrupt and on clean prompts, and a backward pass per dropped layer."""
        return Cost(forwards=1 + options.ablation_passes, backwards=len(_runs(graph, options)))

    def score_microbatch(self, context: ScoringContext, options: AtPStarOptions) -> tuple[float, float | None]:
        """Add the scores of one microbatch; see ``GradientAlgorithm.score_microbatch``."""
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
            total += share * _magnitudes(first_order.scores(readers.gradients(-value, keep_graph=True)), options)
            at_pattern.append(dict(attention.gradient))
        for index in at_pattern[0]:
            if attention.mixes_heads(index):
                continue
            gradients = torch.stack([run[index] for run in at_pattern]).to(total.dtype)
            for slot in ("q", "k"):
                effects = attention.effects(index, slot, change, gradients, options.positions)
                cut, first = effects.shape[-2], graph.columns[f"a{index}.h0<{slot}>"]
                columns = slice(first, first + effects.shape[-1])
                weighted = shares[:, None, None, :cut, columns] * _magnitudes(effects, options)
                total[:, :, :cut, columns] = weighted.sum(0)
        context.add_prompts(total)
        return float(value.detach()), on_corrupt


class LayerDrop:
    """Visitors that zero the gradient at what one layer adds to the residual stream.

    Attributes:
        layer: the layer to drop in the next backward pass; ``None`` for a plain backward pass.
    """

    def __init__(self, graph: Graph) -> None:
        """Start without a dropped layer."""
        self.layer: int | None = None
        self._has_mlp = graph.has_mlp

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        visit: dict[Site, Visitor] = {"attn_out": self._drop_gradient}
        return visit | ({"mlp_out": self._drop_gradient} if self._has_mlp else {})

    def _drop_gradient(self, layer: int, value: Tensor) -> None:
        value.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: torch.zeros_like(gradient) if layer == self.layer else gradient
        )


class FirstOrder:
    """First-order scores of each prompt separately.

    ``EdgeScorer`` sums over prompts but can keep positions apart, so prompts are passed to it as positions.

    Attributes:
        matrix: the scores of the latest backward pass.
    """

    matrix: Float[Tensor, "batch pos sources readers"]

    def __init__(self, context: ScoringContext, change: Writers, positions: bool) -> None:
        """Prepare to score one microbatch.

        Args:
            context: the microbatch.
            change: the change of every writer.
            positions: keep positions apart, too; if false, the position axis has length one.
        """
        self._positions = positions
        batch, n_pos, _ = change.embed.shape
        self._scorer = EdgeScorer(context.model, context.scorer.matrix.dtype, batch * n_pos if positions else batch)
        self._change = self._prompts_as_positions(change)
        self.matrix = torch.unflatten(self._scorer.matrix, 0, (batch, -1))

    def scores(self, gradients: ReaderGradients) -> Float[Tensor, "batch pos sources readers"]:
        """Return the scores of one backward pass; the next call overwrites them."""
        with torch.no_grad():
            self._scorer.matrix.zero_()
            self._scorer.add(self._change, self._prompts_as_positions(gradients))
        return self.matrix

    def _prompts_as_positions(self, record: R) -> R:
        """Move prompts, or prompts and positions, to the axis that the scorer keeps apart."""

        def move(x: Tensor) -> Tensor:
            return x.flatten(0, 1)[None] if self._positions else x.transpose(0, 1)

        return mapped(record, move)


def _runs(graph: Graph, options: AtPStarOptions) -> Sequence[int | None]:
    """Return the layer to drop in each backward pass; ``None`` for the single plain pass."""
    return range(graph.n_layers) if options.grad_drop and graph.n_layers > 1 else [None]


def _shares(graph: Graph, options: AtPStarOptions) -> Float[Tensor, "runs sources readers"]:
    """Return the weight of each backward pass in each score.

    A score is the mean over the passes that do not drop the layer of the edge's reader, or of the node.
    """
    runs = _runs(graph, options)
    counts = torch.ones(len(runs), len(graph.sources), len(graph.readers))
    for layer in range(len(runs) if len(runs) > 1 else 0):
        if options.level == "node":
            counts[layer, graph.head_row(layer) : graph.head_row(layer + 1)] = 0
        else:
            own = [c for c, reader in enumerate(graph.readers) if reader.layer == layer and reader.slot != "logits"]
            counts[layer, :, own] = 0
    return counts / counts.sum(0)


def _magnitudes(scores: Float[Tensor, "*run sources readers"], options: AtPStarOptions) -> Tensor:
    """Return absolute effects with gradient drop, and ``scores`` otherwise.

    For nodes, the entries of a row are given the sign for which their sum is the absolute value of the node's effect.
    """
    if not options.grad_drop:
        return scores
    return scores * scores.sum(-1, keepdim=True).sign() if options.level == "node" else scores.abs()
