"""One run of an algorithm, as it is passed on once a user's arguments are resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.data.batch import Batch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm


@dataclass(frozen=True)
class Run:
    """What is run on what.

    Attributes:
        model: the model, where it is to run.
        data: what the user gave: a task, or batches of any kind.
        batches: the prompt pairs.
        reference: the batches over whose corrupt prompts means are taken; those of the run if there are none.
        algorithm: what scores.
        checked: its ``attribute``, checked.
        options: its options.
        metric: what is attributed.
        batch_size: at most so many prompt pairs at a time.
    """

    model: ResidualModel
    data: object
    batches: tuple[Batch, ...]
    reference: tuple[Batch, ...]
    algorithm: Algorithm[Any]
    checked: CheckedAlgorithm
    options: Any
    metric: Metric
    batch_size: int | None
