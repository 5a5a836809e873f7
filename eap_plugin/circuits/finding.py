"""Search for the smallest size at which a circuit is faithful enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

PER_CALL = 4
"""The number of sizes that the search measures at once. A measurement costs as much as about four circuits besides
those that it measures; with that, four at a time take the least work in total, in less than half the calls of one."""


@dataclass(frozen=True)
class Search:
    """What a search found.

    The size reaches the wanted faithfulness. The sizes right below it, as many as were asked for, do not, nor does any
    other smaller size that was measured. So if faithfulness does not fall as the size grows, it is the smallest of all;
    if it does, a smaller one may exist outside these.

    Attributes:
        size: the size.
        measured: the faithfulness at each size that was measured, the smallest first.
        n_short: how many of the larger sizes that were measured do not reach the wanted faithfulness; 0 if
            faithfulness nowhere fell below it again.
    """

    size: int
    measured: dict[int, float]
    n_short: int


def smallest_size(
    faithfulness: Callable[[Sequence[int]], Sequence[float]], wanted: float, largest: int, around: int = 8
) -> Search | None:
    """Search for the smallest size from 1 to ``largest`` whose faithfulness is at least ``wanted``.

    The range between the largest size that falls short and the smallest that does not is narrowed until they are
    neighbours, by sizes in between whose ratios are equal. Then all sizes around the answer are measured; if one below
    it reaches what is wanted, it takes the answer's place, and those around it are measured, too.

    Args:
        faithfulness: measures the faithfulness at several sizes.
        wanted: the least faithfulness.
        largest: the largest size.
        around: the number of sizes below and above the answer to measure.

    Returns:
        What was found; ``None`` if no size that was measured, among them the largest, reaches what is wanted.
    """
    measured: dict[int, float] = {}
    sizes = [*_between(0, largest, PER_CALL - 1), largest]
    while sizes:
        measured |= dict(zip(sizes, faithfulness(sizes), strict=True))
        reaching = [size for size, value in measured.items() if value >= wanted]
        if not reaching:
            return None
        size = min(reaching)
        short = max((other for other in measured if other < size), default=0)
        sizes = _between(short, size, PER_CALL)
        if not sizes:
            near = range(max(1, size - around), min(largest, size + around) + 1)
            sizes = [other for other in near if other not in measured]
    above = [value for other, value in measured.items() if other > size]
    return Search(size, dict(sorted(measured.items())), sum(value < wanted for value in above))


def _between(low: int, high: int, count: int) -> list[int]:
    """Return up to ``count`` sizes between two, in nearly geometric progression; all there are, if these are few."""
    if high - low - 1 <= count:
        return list(range(low + 1, high))
    start = max(low, 1)
    spread = (round(start * (high / start) ** (step / (count + 1))) for step in range(1, count + 1))
    return sorted({min(max(size, low + 1), high - 1) for size in spread})
