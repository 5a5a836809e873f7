"""An estimate of how long an algorithm takes: the number of passes that it declares, times the time of a pass."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from eap_plugin.algorithm.base import Cost
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.interventions.recording import GradientRecorder
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel


@dataclass(frozen=True)
class Estimate:
    """The estimated cost of a run.

    Attributes:
        cost: the number of passes per microbatch.
        n_pieces: the number of microbatches.
        forward_seconds: the time of one forward pass on the largest microbatch.
        backward_seconds: the time of one backward pass on it.
        seconds: the time of all passes on all microbatches, without any other work.
    """

    cost: Cost
    n_pieces: int
    forward_seconds: float
    backward_seconds: float
    seconds: float


def estimate(model: ResidualModel, data: Sequence[Microbatch], metric: Metric, cost: Cost) -> Estimate:
    """Time a forward and a backward pass on the largest microbatch, after a warm-up; for ``model.run``."""
    largest = max(data, key=lambda piece: piece.batch.clean.numel())
    forward, backward = min(_passes(model, largest, metric) for _ in range(2))
    tokens = sum(piece.batch.clean.numel() for piece in data) / largest.batch.clean.numel()
    seconds = tokens * (cost.forwards * forward + cost.backwards * backward)
    return Estimate(cost, len(data), forward, backward, seconds)


def _passes(model: ResidualModel, piece: Microbatch, metric: Metric) -> tuple[float, float]:
    """Measure the seconds of a forward pass without gradients, and of a backward pass."""
    batch = piece.batch.to(model.device)
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
