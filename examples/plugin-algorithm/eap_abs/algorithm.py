"""Edge Attribution Patching that averages the absolute effects on the prompts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from eap_plugin.plugin import (
    Algorithm,
    Attribution,
    Batch,
    Cost,
    EdgeScorer,
    GradientRecorder,
    Graph,
    Metric,
    Microbatch,
    Progress,
    ReaderGradients,
    ResidualModel,
    WriterRecorder,
    Writers,
    merge,
    option,
)

T = TypeVar("T", Writers, ReaderGradients)


@dataclass(frozen=True)
class EapAbsOptions:
    """The options: ``-O least=0.1`` on the command line, ``least=0.1`` in Python."""

    least: float = option(
        0.0, help="effects on a prompt that are smaller than this count as zero", unit="the metric's", minimum=0
    )


class EapAbs(Algorithm[EapAbsOptions]):
    """EAP with the absolute effect on each prompt; each microbatch takes two forward passes and one backward pass."""

    name = "eap-abs"
    summary = "EAP whose effects on different prompts do not cancel"
    reference = "Syed et al. 2023, arXiv 2310.10348; absolute value by prompt"
    gradient_run = "clean"
    options = EapAbsOptions

    def cost(self, options: EapAbsOptions, graph: Graph) -> Cost:
        """Declare one forward pass on the corrupt prompts, and one forward and one backward pass on the clean ones."""
        return Cost(forwards=2, backwards=1)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: EapAbsOptions,
        progress: Progress,
    ) -> Attribution:
        """See ``Algorithm.attribute``."""
        dtype = model.score_dtype
        total = EdgeScorer(model, dtype).matrix[0]
        for piece in data:
            batch = piece.batch.to(model.device)
            change, gradients = _run(model, batch, metric)
            for row in range(len(batch)):
                scorer = EdgeScorer(model, dtype)
                scorer.add(_prompt(change, row), _prompt(gradients, row))
                effect = scorer.matrix[0].abs() * len(batch)  # the metric is a mean over the microbatch's prompts
                total += torch.where(effect >= options.least, effect, 0) * piece.share / len(batch)
            progress()
        return Attribution(model.graph, total)


def _run(model: ResidualModel, batch: Batch, metric: Metric) -> tuple[Writers, ReaderGradients]:
    """Return the change of each writer between the two runs, and the gradient of minus the metric at each reader."""
    corrupt, clean, gradients = WriterRecorder(model), WriterRecorder(model), GradientRecorder(model)
    with torch.no_grad():
        model.forward(batch.corrupt_prompts, corrupt.visitors())
    logits = model.forward(batch.clean_prompts, merge(clean.visitors(), gradients.visitors()))
    return corrupt.writers().minus(clean.writers()), gradients.gradients(-metric(logits, batch))


def _prompt(part: T, row: int) -> T:
    """Select one prompt from the values of a run."""

    def take(value: Any) -> Any:
        if isinstance(value, list):
            return [take(item) for item in value]
        return value[row : row + 1] if isinstance(value, Tensor) else value

    return type(part)(*(take(getattr(part, field.name)) for field in fields(part)))
