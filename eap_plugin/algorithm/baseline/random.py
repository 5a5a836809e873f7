"""Random scores: the baseline that every algorithm should beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Progress
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.host.options import option
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel


@dataclass(frozen=True)
class RandomOptions:
    """The options of random scores."""

    seed: int = option(0, help="seed of the random numbers", minimum=0)


class Random(Algorithm[RandomOptions]):
    """Independent standard normal scores, identical on every machine for the same seed."""

    name = "random"
    summary = "standard normal scores, without running the model, as a baseline"
    reference = "-"
    score_unit = "random"
    additive = False
    options = RandomOptions

    def cost(self, options: RandomOptions, graph: Graph) -> Cost:
        """Count no passes, as the model is not run."""
        return Cost(forwards=0, backwards=0)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: RandomOptions,
        progress: Progress,
    ) -> Attribution:
        """Score every edge; see ``Algorithm.attribute``."""
        graph = model.graph
        for _ in data:
            progress()
        generator = torch.Generator().manual_seed(options.seed)
        matrix = torch.randn(len(graph.sources), len(graph.readers), generator=generator)
        return Attribution(graph, matrix * edge_mask(graph))
