"""Activation magnitude, a baseline of AutoCircuit: the size of a writer's output, regardless of its effect."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost
from eap_plugin.data.microbatches import Microbatch, mean_by_share
from eap_plugin.host.options import option
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.interventions.writer_outputs import writer_adds
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel


@dataclass(frozen=True)
class ActivationMagnitudeOptions:
    """The options of activation magnitude."""

    level: Literal["edge", "node"] = option("edge", help="what to score: edges, or writers (node)")
    average: Literal["signed", "absolute"] = option(
        "signed", help="signed: absolute value of the mean, as in AutoCircuit; absolute: mean of the absolute values"
    )


class ActivationMagnitude(Algorithm[ActivationMagnitudeOptions]):
    """A baseline that scores all edges of a writer by its mean output over clean prompts, positions and d_model."""

    name = "activation-magnitude"
    summary = "size of a writer's output on the clean prompts, as a baseline"
    reference = "Miller et al. 2024, arXiv 2407.08734 (AutoCircuit)"
    sign = "never negative: the size of the writer's output"
    score_unit = "size of activation"
    additive = False
    options = ActivationMagnitudeOptions

    def cost(self, options: ActivationMagnitudeOptions, graph: Graph) -> Cost:
        """Count one forward pass on the clean prompts."""
        return Cost(forwards=1, backwards=0)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: ActivationMagnitudeOptions,
        progress: Callable[[], None],
    ) -> Attribution:
        """Score every edge; see ``Algorithm.attribute``."""
        graph, clean = model.graph, list[float]()
        dtype = model.score_dtype
        total, count = torch.zeros(len(graph.sources), dtype=dtype, device=model.device), 0
        for piece in data:
            batch = piece.batch.to(model.device)
            recorder = WriterRecorder(model)
            with torch.no_grad():
                logits = model.forward(batch.clean_prompts, recorder.visitors())
            writers, is_real = recorder.writers(), batch.clean_prompts.real
            clean.append(float(metric(logits, batch)))
            for row in range(len(graph.sources)):
                real = writer_adds(model, writers, row)[is_real].to(dtype)
                total[row] += (real.abs() if options.average == "absolute" else real).sum()
                count += real.numel() if row == 0 else 0
            progress()
        magnitude = total.abs() / count
        scored = magnitude if options.level == "node" else magnitude[:, None] * edge_mask(graph).to(total)
        on_clean = mean_by_share(clean, [piece.share for piece in data])
        return Attribution(graph, scored, clean_metric=on_clean, level=options.level)
