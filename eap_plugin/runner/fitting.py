"""Scoring in microbatches that fit in memory: as large as estimated, and smaller ones once memory has run out.

If all batches certainly fit, the algorithm is run on all of them. If not, one whose scores add up is run on one
microbatch after another. If memory runs out on one, it is halved, and so are those that follow; the scores of those
before it are kept. An algorithm whose scores do not add up is run again on all microbatches, half as large.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import torch

from eap_plugin.algorithm.base import Attribution, Progress
from eap_plugin.data.microbatches import Microbatch, Reference, n_pairs, split_microbatches
from eap_plugin.errors import is_out_of_memory
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.batch_size import FittingSize, balanced, fitting_size
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm
from eap_plugin.runner.pieces import score_pieces
from eap_plugin.runner.shared_prefixes import Sharing, split_for
from eap_plugin.runner.sums import add_up

T = TypeVar("T")


def score_fitting(
    model: ResidualModel,
    data: Sequence[Microbatch],
    size: FittingSize,
    attribute: CheckedAlgorithm,
    metric: Metric,
    options: Any,
    sharing: Sharing,
    progress: Callable[[Sequence[int]], Progress],
) -> Attribution:
    """Score prompt pairs, as many at a time as fit in memory; see ``runner.program.score``."""
    most = fitting_size(model, data, metric, size)
    largest = max(len(piece.batch) for piece in data)
    reference = data[0].reference or Reference(piece.batch for piece in data)
    data = [piece._replace(reference=reference) for piece in data]
    tick = progress([n_pairs(data)])
    scores = partial(_scores, model, attribute, metric, options, sharing, reference)
    if most is None or not attribute.additive:
        found, most = _all_at_once(scores, data, most or largest, tick, retry=not attribute.additive)
        if found is not None:
            return found
    pieces = split_for(model, data, balanced(largest, most), sharing)
    found_in_parts = one_by_one(lambda piece, part: scores([piece], None, part), pieces, tick)
    return add_up((found, piece.share) for piece, found in found_in_parts)


def _scores(
    model: ResidualModel,
    attribute: CheckedAlgorithm,
    metric: Metric,
    options: Any,
    sharing: Sharing,
    reference: Reference,
    data: Sequence[Microbatch],
    size: int | None,
    tick: Fraction,
) -> Attribution:
    """Score prompt pairs, and take means over as many: at most ``size`` at a time; with ``None``, as they are split."""
    reference.most = max(len(piece.batch) for piece in data) if size is None else size
    split = list if size is None else partial(split_for, model, size=size, sharing=sharing)
    return score_pieces(model, data, split, attribute, metric, options, tick.over)


def one_by_one(
    run: Callable[[Microbatch, Fraction], T], pieces: Sequence[Microbatch], progress: Progress
) -> Iterator[tuple[Microbatch, T]]:
    """Yield every microbatch and the result of a run on it; once memory runs out, those that are left are halved.

    Args:
        run: runs one microbatch, and reports its progress.
        pieces: the microbatches.
        progress: called with the fraction of all prompts that is done since the last call.
    """
    n_prompts = n_pairs(pieces)
    waiting = list(pieces)
    while waiting:
        piece, n_here = waiting[0], len(waiting[0].batch)
        tick = Fraction(progress, n_here / n_prompts)
        found = attempt(partial(run, piece, tick), n_here)
        if found is None:
            tick.undo()
            waiting = split_microbatches(waiting, (n_here + 1) // 2)
        else:
            del waiting[0]
            yield piece, found


def _all_at_once(
    scores: Callable[..., Attribution], data: Sequence[Microbatch], most: int, progress: Progress, retry: bool
) -> tuple[Attribution | None, int]:
    """Return the scores of all microbatches together, and their size; with ``retry``, smaller ones until they fit."""
    while True:
        tick = Fraction(progress, 1.0)
        found = attempt(partial(scores, data, most, tick), most)
        if found is not None:
            return found, most
        tick.undo()
        most //= 2
        if not retry:
            return None, most


def attempt(run: Callable[[], T], size: int) -> T | None:
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


class Fraction:
    """Progress on some microbatches that are a fraction of the data; it can be taken back."""

    def __init__(self, progress: Progress, fraction: float) -> None:
        """Begin with nothing done of microbatches that are this fraction of the data."""
        self._progress, self._fraction, self._done = progress, fraction, 0.0
        self._n_pieces = 1

    def over(self, sizes: Sequence[int]) -> Progress:
        """Return the callback for an algorithm that runs on microbatches of these sizes."""
        self._n_pieces = len(sizes)
        return self

    def __call__(self, pieces: float = 1.0) -> None:
        """Report that so many more microbatches are done."""
        self._done += pieces
        self._progress(pieces * self._fraction / self._n_pieces)

    def undo(self) -> None:
        """Take back the progress so far."""
        self(-self._done)
