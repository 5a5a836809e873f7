"""The clean run and the counterfactual of each microbatch, for methods that run the model with patched edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch, mean_by_share
from eap_plugin.data.prompts import Prompts
from eap_plugin.interventions.counterfactual import Counterfactual
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.metric.metric import Metric
from eap_plugin.model.prefix import with_prefix
from eap_plugin.model.residual_model import ResidualModel


class Metrics(NamedTuple):
    """A microbatch's share, and the metric on its clean and on its corrupt prompts; ``None`` if not run."""

    share: float
    clean: float
    corrupt: float | None


@dataclass(frozen=True)
class Contrast:
    """One microbatch, with the outputs of all writers in its clean run and their counterfactual values.

    Attributes:
        batch: the prompt pairs, on the model's device.
        clean: the writers' outputs on the clean prompts.
        other: the values that replace them.
        metrics: the metric of the unmodified model on the prompts.
    """

    batch: Batch
    clean: Writers
    other: Writers
    metrics: Metrics


def contrast(model: ResidualModel, piece: Microbatch, metric: Metric, counterfactual: Counterfactual) -> Contrast:
    """Run a microbatch's clean prompts, and its corrupt prompts if the ablation uses them."""
    batch = with_prefix(model, piece)
    clean, on_clean = _run(model, batch, batch.clean_prompts, metric)
    if counterfactual.corrupt:
        other, on_corrupt = _run(model, batch, batch.corrupt_prompts, metric)
        return Contrast(batch, clean, other, Metrics(piece.share, on_clean, on_corrupt))
    other = counterfactual.constant(batch)
    return Contrast(batch, clean, other, Metrics(piece.share, on_clean, None))


def _run(model: ResidualModel, batch: Batch, prompts: Prompts, metric: Metric) -> tuple[Writers, float]:
    recorder = WriterRecorder(model)
    with torch.no_grad():
        logits = model.forward(prompts, recorder.visitors())
        return recorder.writers(), float(metric(logits, batch))


def mean_over(pieces: Sequence[Metrics]) -> tuple[float, float | None]:
    """Return the metric on clean and on corrupt prompts, averaged over batches; ``None`` if not run."""
    shares = [piece.share for piece in pieces]
    on_corrupt = [piece.corrupt for piece in pieces if piece.corrupt is not None]
    return (
        mean_by_share([piece.clean for piece in pieces], shares),
        mean_by_share(on_corrupt, shares) if len(on_corrupt) == len(pieces) else None,
    )
