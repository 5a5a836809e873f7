"""An estimate of the time and memory of a run: its passes are timed, and its scoring follows from the cost model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from eap_plugin.algorithm.base import Cost
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch, split_microbatches
from eap_plugin.interventions.recording import GradientRecorder
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.batch_size import FittingSize, fitting_size, measured_memory
from eap_plugin.runner.cost_model import operations, shape_of

_SCORING_SPEED = 0.4
"""Operations per second of scoring, in units of those of a forward pass."""


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a run.

    Attributes:
        cost: the number of passes per microbatch.
        n_pieces: the number of microbatches.
        forward_seconds: the time of one forward pass on the largest microbatch.
        backward_seconds: the time of one backward pass on it.
        scoring_seconds: the time of multiplying the gradients of one backward pass by the changes of writers.
        seconds: the time of all passes on all microbatches, and of scoring after every backward pass.
        memory_bytes: the memory for the activations of the largest microbatch.
        weight_bytes: the memory for the weights.
    """

    cost: Cost
    n_pieces: int
    forward_seconds: float
    backward_seconds: float
    scoring_seconds: float
    seconds: float
    memory_bytes: int
    weight_bytes: int


def estimate(
    model: ResidualModel, data: Sequence[Microbatch], size: int | FittingSize | None, metric: Metric, cost: Cost
) -> Estimate:
    """Time a forward and a backward pass on the largest microbatch, after a warm-up; for ``model.run``."""
    most = fitting_size(model, data, metric, size) if isinstance(size, FittingSize) else size
    data = split_microbatches(data, most)
    largest = max(data, key=lambda piece: piece.batch.clean.numel()).batch
    forward, backward = min(_passes(model, largest, metric) for _ in range(2))
    shape = shape_of(model)
    count = operations(shape, *largest.clean.shape)
    scoring = forward * count.scoring / count.forward / _SCORING_SPEED
    tokens = sum(piece.batch.clean.numel() for piece in data) / largest.clean.numel()
    return Estimate(
        cost=cost,
        n_pieces=len(data),
        forward_seconds=forward,
        backward_seconds=backward,
        scoring_seconds=scoring,
        seconds=tokens * (cost.forwards * forward + cost.backwards * (backward + scoring)),
        memory_bytes=int(len(largest) * measured_memory(model, largest, metric)),
        weight_bytes=shape.n_weights * model.dtype.itemsize,
    )


def _passes(model: ResidualModel, batch: Batch, metric: Metric) -> tuple[float, float]:
    """Measure the seconds of a forward pass without gradients, and of a backward pass."""
    batch = batch.to(model.device)
    with torch.no_grad():
        started = time.perf_counter()
        clean = model.forward(batch.clean_prompts, {})
        forward = time.perf_counter() - started
    recorder = GradientRecorder(model)
    logits = model.forward(batch.clean_prompts, recorder.visitors())
    loss = -metric(logits, replace(batch, clean_logits=clean))
    started = time.perf_counter()
    recorder.gradients(loss)
    return forward, time.perf_counter() - started
