"""Splitting a run into several requests, whose results can be saved so that an interrupted run can be resumed.

1. ``split_requests`` divides the prompt pairs into parts of at most ``prompts_per_request``. Only algorithms whose
   scores add up over prompts can be split.
2. ``run_requests`` runs the algorithm on each part by one ``model.run``, which is one request if the model is on a
   server. Parts found in the ``RequestCache`` are not run again; finished parts are saved there.
3. Several processes take turns: with n of them, each runs every nth part, and all receive the scores of all parts.
4. ``add_up`` sums the scores of the parts in their order, and averages their metrics by the share of prompts in each.
   Parts and order depend on the data alone, so the sum has the same bits on any number of processes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from math import ceil
from typing import Any, cast

from eap_plugin.algorithm.base import Algorithm, Attribution, Progress
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch, microbatches, n_pairs
from eap_plugin.errors import UsageError
from eap_plugin.runner.program import score
from eap_plugin.runner.ranks import Ranks
from eap_plugin.runner.request_cache import RequestCache
from eap_plugin.runner.run import Run
from eap_plugin.runner.sums import add_up

_MOST_PARTS, _FEWEST_PROMPTS = 64, 8


def prompts_per_part(n_prompts: int) -> int:
    """Return the number of prompt pairs in a part of a distributed run: at least 8, and more if parts exceed 64.

    It does not depend on the number of processes, as scores would then differ in rounding.
    """
    return max(_FEWEST_PROMPTS, ceil(n_prompts / _MOST_PARTS))


def split_requests(
    batches: Sequence[Batch], most: int | None, reference: tuple[Batch, ...], algorithm: Algorithm[Any]
) -> list[list[Microbatch]]:
    """Split the data as ``split_parts`` does, for an algorithm.

    Raises:
        UsageError: if ``most`` is not positive, or the algorithm's scores of parts do not add up to those of all.
    """
    several = most is not None and most < sum(map(len, batches))
    if several and not algorithm.additive:
        raise UsageError(
            f"scores of {algorithm.name} on parts of the prompts do not add up to those on all; "
            f"run it without prompts_per_request, in one process"
        )
    return split_parts(batches, most, reference)


def split_parts(batches: Sequence[Batch], most: int | None, reference: tuple[Batch, ...]) -> list[list[Microbatch]]:
    """Split the data, in order, into as few parts as possible of at most ``most`` prompt pairs.

    Args:
        batches: the data.
        most: the maximum number of prompt pairs in a part; ``None`` for a single part.
        reference: the batches that means are taken over; if empty, all of the data.

    Raises:
        UsageError: if ``most`` is not positive.
    """
    if most is None or most >= sum(map(len, batches)):
        return [microbatches(batches, None, reference)]
    if most < 1:
        raise UsageError(f"prompts_per_request must be at least 1, got {most}")
    parts: list[list[Microbatch]] = []
    room = 0
    for piece in microbatches(batches, most, reference or tuple(batches)):
        if len(piece.batch) > room:
            parts.append([])
            room = most
        parts[-1].append(piece._replace(batch=piece.batch.copy()))
        room -= len(piece.batch)
    return parts


def run_requests(
    run: Run,
    parts: Sequence[Sequence[Microbatch]],
    progress: Callable[[int, int], None] | None,
    kept: RequestCache | None,
    ranks: Ranks,
) -> Attribution:
    """Run an algorithm on each part of the data that has no saved scores, and add the scores of all parts.

    Args:
        run: the run.
        parts: the parts, from ``split_requests``.
        progress: called in the first process with the number of prompt pairs done and the total.
        kept: the saved parts of the run; ``None`` to save nothing.
        ranks: the processes among which the parts are divided; each of them returns the scores of all parts.

    Raises:
        EapPluginError: if the self-check fails, or the algorithm does not return valid scores.
    """
    shares = [sum(piece.share for piece in part) for part in parts]
    return add_up(zip(_found(run, parts, progress if ranks.is_first else None, kept, ranks), shares, strict=True))


def _found(
    run: Run,
    parts: Sequence[Sequence[Microbatch]],
    progress: Callable[[int, int], None] | None,
    kept: RequestCache | None,
    ranks: Ranks,
) -> Iterator[Attribution]:
    """Yield the scores of the parts in order; with n processes, the next n parts are run at the same time."""
    sizes = list(map(n_pairs, parts))
    counter = _ProgressCounter(sum(sizes), progress)
    for start in range(0, len(parts), ranks.size):
        indices = range(start, min(start + ranks.size, len(parts)))
        own = start + ranks.rank
        work = partial(_find_or_run, run, parts[own], own, kept, counter) if own in indices else _idle
        found = ranks.gather(work)
        for index, new in zip(indices, found, strict=False):
            assert new is not None
            if kept and ranks.is_first:
                kept.keep(index, new)
            counter.reach(sum(sizes[: index + 1]))
            yield new


def _find_or_run(
    run: Run, part: Sequence[Microbatch], index: int, kept: RequestCache | None, counter: _ProgressCounter
) -> Attribution | None:
    saved = kept.find(index) if kept else None
    return _run_part(run, part, counter) if saved is None else saved


def _idle() -> Attribution | None:
    """Return nothing: there are fewer parts left than processes."""
    return None


def _run_part(run: Run, part: Sequence[Microbatch], counter: _ProgressCounter) -> Attribution:
    """Score a part; of several parts, each in the same way whichever process runs it, and after whichever others."""
    one_of_several = n_pairs(part) < sum(map(len, run.batches))
    progress = silent if run.model.remote else counter.over
    sharing = replace(run.sharing, count_checks=not one_of_several)
    outcome = run.model.run(score, part, run.batch_size, run.checked, run.metric, run.prepared, sharing, progress)
    outcome.report.raise_if_failed()
    return cast(Attribution, outcome.found)


def silent(sizes: Sequence[int]) -> Progress:
    """Return a callback that ignores progress: on a server there is nobody to report it to."""
    return nothing


def nothing(pieces: float = 1.0) -> None:
    """Ignore progress."""


class _ProgressCounter:
    """A counter of the prompt pairs that are done, which reports them to the user."""

    def __init__(self, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._total, self._done, self._progress = total, 0, progress

    def over(self, sizes: Sequence[int]) -> Progress:
        """Return the function that an algorithm calls when microbatches of these sizes are done, in order."""
        start, done = self._done, 0.0

        def tick(pieces: float = 1.0) -> None:
            nonlocal done
            done = min(done + pieces, len(sizes))  # an algorithm may call too often
            whole = int(done + 1e-6)
            partial = (done - whole) * sizes[whole] if whole < len(sizes) else 0
            self.reach(start + sum(sizes[:whole]) + int(partial))

        return tick

    def reach(self, done: int) -> None:
        """Report that ``done`` prompt pairs are done, if more than before."""
        if done > self._done:
            self._done = done
            if self._progress is not None:
                self._progress(done, self._total)
