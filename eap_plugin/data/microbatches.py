"""Microbatches: parts of batches that run through the model together and are small enough to fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eap_plugin.data.batch import Batch


class Microbatch(NamedTuple):
    """Prompt pairs that run through the model together, and their share of the batch that they belong to.

    Each microbatch's mean metric is weighted by its share, so the size of microbatches affects memory but not scores.

    Attributes:
        batch: the prompt pairs.
        share: their number divided by the number of prompt pairs in the whole batch.
        reference: the batches over whose corrupt prompts mean ablation averages; if empty, those of all microbatches.
        n_prefix: the number of first positions to run once, as clean and corrupt prompts have them in common.
    """

    batch: Batch
    share: float
    reference: tuple[Batch, ...] = ()
    n_prefix: int = 0


def microbatches(batches: Iterable[Batch], size: int | None, reference: tuple[Batch, ...] = ()) -> list[Microbatch]:
    """Split batches into microbatches of at most ``size`` prompt pairs; one per batch if ``size`` is ``None``."""
    return split_microbatches([Microbatch(batch, 1.0, reference) for batch in batches], size)


def split_microbatches(data: Iterable[Microbatch], size: int | None) -> list[Microbatch]:
    """Split microbatches further, to at most ``size`` prompt pairs; return them unchanged if ``size`` is ``None``."""
    return [
        piece._replace(batch=part, share=piece.share * len(part) / len(piece.batch))
        for piece in data
        for part in piece.batch.split(len(piece.batch) if size is None else size)
    ]


def mean_by_share(values: Sequence[float], shares: Sequence[float]) -> float:
    """Average a number over batches, given its value on each piece and the pieces' shares."""
    return sum(share * value for value, share in zip(values, shares, strict=True)) / sum(shares)
