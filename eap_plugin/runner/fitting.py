"""Scoring in microbatches that fit in memory: as large as estimated, and smaller ones once memory has run out.

If all batches certainly fit, the algorithm is run on all of them. If not, one whose scores add up is run on one
microbatch after another. If memory runs out on one, it is halved, and so are those that follow; the scores of those
before it are kept. An algorithm whose scores do not add up is run again on all microbatches, half as large.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch

from eap_plugin.algorithm.base import Attribution, Progress
from eap_plugin.data.microbatches import Microbatch, Reference, split_microbatches
from eap_plugin.errors import is_out_of_memory
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.batch_size import FittingSize, balanced, fitting_size
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm
from eap_plugin.runner.pieces import score_pieces
from eap_plugin.runner.sums import add_up


def score_fitting(
    model: ResidualModel,
    data: Sequence[Microbatch],
    size: FittingSize,
    attribute: CheckedAlgorithm,
    metric: Metric,
    options: Any,
    progress: Progress,
) -> Attribution:
    """Score prompt pairs, as many at a time as fit in memory; see ``runner.program.score``."""
    most = fitting_size(model, data, metric, size)
    reference = data[0].reference or Reference(piece.batch for piece in data)
    data = [piece._replace(reference=reference) for piece in data]
    scores = partial(_scores, model, attribute, metric, options)
    largest = max(len(piece.batch) for piece in data)
    if most is None or not attribute.additive:
        found, most = _all_at_once(scores, data, most or largest, progress, retry=not attribute.additive)
        if found is not None:
            return found
    return add_up(_one_by_one(scores, data, most, progress))


def _scores(
    model: ResidualModel,
    attribute: CheckedAlgorithm,
    metric: Metric,
    options: Any,
    data: Sequence[Microbatch],
    size: int | None,
    progress: Progress,
) -> Attribution:
    """Score prompt pairs; means, too, are taken over at most ``size`` prompts at a time."""
    assert data[0].reference is not None
    data[0].reference.most = size
    return score_pieces(model, data, size, attribute, metric, options, progress)


def _one_by_one(
    scores: Callable[..., Attribution], data: Sequence[Microbatch], most: int, progress: Progress
) -> Iterator[tuple[Attribution, float]]:
    """Yield the scores of every microbatch, and its share."""
    for whole in data:
        waiting = split_microbatches([whole], balanced(len(whole.batch), most))
        while waiting:
            piece = waiting[0]
            tick = _Fraction(progress, len(piece.batch) / len(whole.batch))
            found = _attempt(partial(scores, [piece], len(piece.batch), tick), len(piece.batch))
            if found is None:
                tick.undo()
                most = len(piece.batch) // 2
                waiting = split_microbatches(waiting, most)
            else:
                del waiting[0]
                yield found, piece.share


def _all_at_once(
    scores: Callable[..., Attribution], data: Sequence[Microbatch], most: int, progress: Progress, retry: bool
) -> tuple[Attribution | None, int]:
    """Return the scores of all microbatches together, and their size; with ``retry``, smaller ones until they fit."""
    while True:
        tick = _Fraction(progress, len(data) / len(split_microbatches(data, most)))
        found = _attempt(partial(scores, data, most, tick), most)
        if found is not None:
            return found, most
        tick.undo()
        most //= 2
        if not retry:
            return None, most


def _attempt(run: Callable[[], Attribution], size: int) -> Attribution | None:
    """Return the result of a run on ``size`` prompts at a time; ``None`` if memory runs out and ``size`` is above 1."""
    try:
        return run()
    except Exception as error:
        if size == 1 or not is_out_of_memory(error):
            raise
    # The tensors of the run are released with the exception, so only here.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None


class _Fraction:
    """Progress on a microbatch that is a fraction of another one; it can be taken back."""

    def __init__(self, progress: Progress, fraction: float) -> None:
        self._progress, self._fraction, self._done = progress, fraction, 0.0

    def __call__(self, pieces: float = 1.0) -> None:
        self._done += pieces
        self._progress(pieces * self._fraction)

    def undo(self) -> None:
        """Take back the progress so far."""
        self(-self._done)
