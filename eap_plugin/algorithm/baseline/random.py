"""Random scores: the baseline that any algorithm has to beat."""

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
    """What can be chosen."""

    seed: int = option(0, help="seed of the random numbers", minimum=0)


class Random(Algorithm[RandomOptions]):
    """Independent standard normal scores, the same for the same seed on every machine."""

    name = "random"
    summary = "standard normal scores that look at nothing: the baseline"
    reference = "-"
    additive = False
    options = RandomOptions

    def cost(self, options: RandomOptions, graph: Graph) -> Cost:
        """The model is not run."""
        return Cost(forwards=0, backwards=0)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: RandomOptions,
        progress: Progress,
    ) -> Attribution:
        """See ``Algorithm.attribute``."""
        graph = model.graph
        for _ in data:
            progress()
        generator = torch.Generator().manual_seed(options.seed)
        matrix = torch.randn(len(graph.sources), len(graph.readers), generator=generator)
        return Attribution(graph, matrix * edge_mask(graph))
