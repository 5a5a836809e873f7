"""Axes and colours for scores, most of which are small beside a few large ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def signed_sqrt(values: Any) -> Any:
    """Return the square root of absolute values, with the sign of the values."""
    return np.sign(values) * np.sqrt(np.abs(values))


def signed_square(values: Any) -> Any:
    """Return the inverse of ``signed_sqrt``."""
    return np.sign(values) * np.square(values)


def ticks(low: float, high: float) -> list[float]:
    """Return round numbers between two for the ticks of an axis of signed square roots: 0, a large one, its tenth."""
    largest = max(abs(low), abs(high))
    if largest <= 0:
        return [0.0]
    power = 10.0 ** np.floor(np.log10(largest))
    top = max(factor for factor in (1, 2, 5) if factor * power <= largest * (1 + 1e-9)) * power
    return [value for value in (-top, -top / 10, 0.0, top / 10, top) if low <= value <= high]


def tick_text(value: float) -> str:
    """Format a tick's value, with a minus sign."""
    return f"{value:g}".replace("-", "−")


def set_signed_scale(axes: Axes, axis: str, values: Sequence[float] | Any) -> None:
    """Scale an axis (``x`` or ``y``) by signed square roots, with limits around the values and round ticks."""
    array = np.asarray(values)
    low, high = min(0.0, float(array.min())), max(0.0, float(array.max()))
    margin = 0.1 * (high - low) or 1.0
    places = ticks(low - margin * (low < 0), high)
    getattr(axes, f"set_{axis}scale")("function", functions=(signed_sqrt, signed_square))
    getattr(axes, f"set_{axis}lim")(low - margin if low < 0 else -0.05 * margin, high + margin)
    getattr(axes, f"set_{axis}ticks")(places, labels=[tick_text(place) for place in places])
    getattr(axes, f"{axis}axis").minorticks_off()


def set_size_scale(axes: Axes, sizes: Sequence[int]) -> None:
    """Scale the x axis logarithmically for numbers of edges; linearly below one, if there are circuits without any."""
    positive = [size for size in sizes if size > 0] or [1]
    low, high = min(positive), max(positive)
    if min(sizes) <= 0:
        axes.set_xscale("symlog", linthresh=1, linscale=0.3)
    else:
        axes.set_xscale("log")
    places = [0] * (min(sizes) <= 0) + [10**power for power in range(12) if low <= 10**power <= 1.6 * high]
    places = places if len(places) > 1 else sorted({min(sizes), high})
    axes.set_xlim(-0.1 if min(sizes) <= 0 else low / 1.25, 1.25 * high)
    axes.set_xticks(places, labels=[f"{place:,}" for place in places])
    axes.minorticks_off()
