"""Edge Attribution Patching (Syed, Rager & Conmy 2023, arXiv 2310.10348), gradient on the clean run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost
from eap_plugin.attribution import EdgeScorer
from eap_plugin.batch import NO_ANSWER, Batch, Piece
from eap_plugin.edges import sum_qkv
from eap_plugin.errors import UsageError
from eap_plugin.host.options import option
from eap_plugin.metric.metric import Metric
from eap_plugin.residual import ResidualModel
from eap_plugin.tapes import GradientTape, WriterTape, merge


@dataclass(frozen=True)
class EAPOptions:
    """What can be chosen."""

    answer_diff: bool = option(True, help="attribute right answers less wrong ones; if false, the right ones alone")
    positions: bool = option(False, help="keep token positions apart: scores get a leading position axis")
    qkv: Literal["separate", "summed"] = option(
        "separate", help="a head's q, k and v inputs as three readers, or summed into one"
    )
    dtype: Literal["auto", "float32", "float64"] = option(
        "auto", help="dtype in which scores are multiplied and added; auto: the model's, but at least float32"
    )


class EAP(Algorithm[EAPOptions]):
    """Two forward passes and one backward pass score every edge at once."""

    name = "eap"
    summary = "Edge Attribution Patching: first-order effect of corrupting each edge"
    reference = "Syed et al. 2023, arXiv 2310.10348"
    gradient_run = "clean"
    options = EAPOptions

    def cost(self, options: EAPOptions) -> Cost:
        """One forward pass on the corrupt prompts, one on the clean ones and back."""
        return Cost(forwards=2, backwards=1)

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Piece],
        metric: Metric,
        options: EAPOptions,
        progress: Callable[[], None],
    ) -> Attribution:
        """See ``Algorithm.attribute``."""
        if metric.flat_when_clean:
            raise UsageError(
                f"metric {metric.name!r} is at its best on the clean run, where eap takes the gradient, so every "
                f"score would be zero; choose another metric, such as logit_diff"
            )
        n_positions = max(piece.batch.clean.shape[1] for piece in data) if options.positions else None
        scorer = EdgeScorer(model, _dtype(options, model), n_positions)
        clean, corrupt = 0.0, 0.0
        for batch, share in data:
            if not options.answer_diff:
                batch = replace(batch, wrong_answers=torch.full_like(batch.wrong_answers, NO_ANSWER))
            on_clean, on_corrupt = _add_batch(model, batch.to(model.device), metric, share, scorer)
            clean, corrupt = clean + on_clean, corrupt + on_corrupt
            progress()
        total = sum(piece.share for piece in data)
        graph, matrix = model.graph, scorer.matrix if options.positions else scorer.matrix[0]
        if options.qkv == "summed":
            graph, matrix = sum_qkv(graph, matrix)
        return Attribution(graph, matrix, clean / total, corrupt / total)


def _add_batch(
    model: ResidualModel, batch: Batch, metric: Metric, share: float, scorer: EdgeScorer
) -> tuple[float, float]:
    """Add a batch's scores; gives its share of the metric on the clean and the corrupt prompts."""
    start = first_difference(batch)
    read = {"attention_mask": batch.attention_mask, "last": batch.last}
    corrupt, clean, gradients = WriterTape(model, start), WriterTape(model, start), GradientTape(model, start)
    with torch.no_grad():
        corrupt_logits = model.forward(batch.corrupt, corrupt.visitors(), **read)
        on_corrupt = share * float(metric(corrupt_logits, batch))
    logits = model.forward(batch.clean, merge(clean.visitors(), gradients.visitors()), **read)
    value = share * metric(logits, batch)
    found = gradients.gradients(-value)
    with torch.no_grad():
        scorer.add(corrupt.writers().minus(clean.writers()), found, start)
    return float(value.detach()), on_corrupt


def first_difference(batch: Batch) -> int:
    """The first position at which any prompt's clean and corrupt tokens differ; no earlier one can score.

    With identical prompts, the last position: all scores are zero there, too.
    """
    differs = (batch.clean != batch.corrupt).any(dim=0).nonzero()
    return int(differs[0, 0]) if len(differs) else batch.clean.shape[1] - 1


def _dtype(options: EAPOptions, model: ResidualModel) -> torch.dtype:
    if options.dtype == "auto":
        return torch.promote_types(model.dtype, torch.float32)
    return {"float32": torch.float32, "float64": torch.float64}[options.dtype]
