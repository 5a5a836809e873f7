"""The faithfulness curve of an evaluation as text, for terminals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from eap_plugin.circuits.evaluation.result import Evaluation

HEIGHT, WIDEST, MARGIN = 11, 80, 6
"""The number of lines between the axes, the number of columns at most, and those left of the vertical axis."""


class Series(NamedTuple):
    """The points of one curve, with what marks them."""

    name: str
    mark: str
    points: Sequence[tuple[int, float]]


def text_curve(evaluation: Evaluation, width: int, encoding: str) -> str:
    """Return faithfulness by size as a text of at most ``width`` columns; empty if there are no two sizes to draw.

    The horizontal axis is logarithmic. Sizes of zero, which it has no place for, are left out; values beyond the
    vertical axis, which goes at least from 0 to 1, do not occur, as it is extended to them.

    Args:
        evaluation: the evaluation.
        width: the number of columns.
        encoding: the encoding of the output; where it lacks the characters, ASCII is used.
    """
    unicode = _has(encoding, "●○·│└─")
    series = [one for one in _series(evaluation, "●○·" if unicode else "*o.") if one.points]
    sizes = sorted({size for one in series for size, _ in one.points})
    if len(sizes) < 2:
        return ""
    columns = min(width, WIDEST) - MARGIN - 2
    values = [value for one in series for _, value in one.points]
    low, high = min(0.0, *values), max(1.0, *values)
    grid = [[" "] * columns for _ in range(HEIGHT)]
    for one in reversed(series):
        for column, line in _line(one.points, (sizes[0], sizes[-1]), (low, high), columns):
            grid[line][column] = one.mark
    bar, corner, dash = "│└─" if unicode else "|+-"
    lines = ["Faithfulness by number selected (logarithmic)"]
    lines += [f"{_height(index, low, high):>{MARGIN}} {bar}{''.join(row)}".rstrip() for index, row in enumerate(grid)]
    lines += [" " * (MARGIN + 1) + corner + dash * columns, " " * (MARGIN + 2) + _labels(sizes, columns)]
    lines.append(" " * (MARGIN + 2) + "   ".join(f"{one.mark} {one.name}" for one in series))
    return "\n".join(lines)


def _series(evaluation: Evaluation, marks: str) -> list[Series]:
    found = []
    for mark, name, signed in zip(marks, ("by |score|", "by score"), (False, True), strict=False):
        points = [point for point in evaluation.points if point.signed is signed and point.size > 0]
        found.append(Series(name, mark, [(point.size, point.faithfulness) for point in points]))
    random = {point.size: point.random_mean for point in evaluation.points if point.size > 0}
    means = [(size, mean) for size, mean in random.items() if mean is not None]
    return [*found, Series("random circuits", marks[2], means)]


def _line(
    points: Sequence[tuple[int, float]], sizes: tuple[int, int], values: tuple[float, float], columns: int
) -> list[tuple[int, int]]:
    """Return the column and the line, from the top, of each point and of the points between them on straight lines."""
    start, stretch = math.log(sizes[0]), (columns - 1) / math.log(sizes[1] / sizes[0])
    places = sorted((round((math.log(size) - start) * stretch), value) for size, value in points)
    found = []
    for (x0, y0), (x1, y1) in zip(places, [*places[1:], places[-1]], strict=True):
        for column in range(x0, max(x1, x0 + 1)):
            value = y0 + (y1 - y0) * (column - x0) / max(1, x1 - x0)
            found.append((column, round((HEIGHT - 1) * (values[1] - value) / (values[1] - values[0]))))
    return found


def _height(line: int, low: float, high: float) -> str:
    """Return the label of a line: every other one has the value in the middle of it."""
    value = high - (high - low) * line / (HEIGHT - 1)
    return "" if line % 2 else f"{round(value, 2) + 0.0:.2f}"


def _labels(sizes: Sequence[int], columns: int) -> str:
    """Return the sizes below the axis, as many as there is room for."""
    start, stretch = math.log(sizes[0]), (columns - 1) / math.log(sizes[-1] / sizes[0])
    line = ""
    for size in sizes:
        text, place = f"{size:,}", round((math.log(size) - start) * stretch)
        place = min(place, columns - len(text))
        if not line or place > len(line):
            line = line.ljust(place) + text
    return line


def _has(encoding: str, characters: str) -> bool:
    """Return whether an encoding has these characters."""
    try:
        characters.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
