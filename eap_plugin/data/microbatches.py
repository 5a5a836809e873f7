"""Parts of batches that are run through the model together, small enough for its memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eap_plugin.data.batch import Batch


class Microbatch(NamedTuple):
    """Prompt pairs run through the model together, and their share of the batch they are judged in.

    Weighting each piece's mean metric by its share makes the size of pieces a matter of memory alone.

    Attributes:
        batch: the prompt pairs.
        share: their share.
        reference: batches whose corrupt prompts means are taken over; all pieces', if there are none.
    """

    batch: Batch
    share: float
    reference: tuple[Batch, ...] = ()


def microbatches(batches: Iterable[Batch], size: int | None, reference: tuple[Batch, ...] = ()) -> list[Microbatch]:
    """Batches cut into pieces of at most ``size`` prompt pairs; uncut when ``size`` is ``None``."""
    return split_microbatches([Microbatch(batch, 1.0, reference) for batch in batches], size)


def split_microbatches(data: Iterable[Microbatch], size: int | None) -> list[Microbatch]:
    """Pieces cut into smaller ones of at most ``size`` prompt pairs; as they are when ``size`` is ``None``."""
    return [
        Microbatch(part, piece.share * len(part) / len(piece.batch), piece.reference)
        for piece in data
        for part in piece.batch.split(len(piece.batch) if size is None else size)
    ]


def mean_by_share(values: Sequence[float], shares: Sequence[float]) -> float:
    """Average a number over batches, given its value on each piece and the pieces' shares."""
    return sum(share * value for value, share in zip(values, shares, strict=True)) / sum(shares)
