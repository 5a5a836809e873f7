"""Plain-text tables, for results that are printed in 80 columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isnan


def text_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Align cells in columns, the first one to the left and the others to the right, under their headers."""
    cells = [list(columns), *map(list, rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = [
        "  ".join(cell.rjust(width) if index else cell.ljust(width) for index, (cell, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join(line.rstrip() for line in lines)


def labelled(facts: Mapping[str, str]) -> str:
    """Align values to the right, in a column behind their labels; one line each."""
    width, end = max(map(len, facts)), max(map(len, facts.values()))
    return "\n".join(f"{label.ljust(width)}  {value.rjust(end)}" for label, value in facts.items())


def fixed(value: float, signed: bool = True) -> str:
    """Format a number between -1 and 1 with three decimals; ``-`` if it is not defined."""
    if isnan(value):
        return "-"
    return f"{value:+.3f}" if signed else f"{value:.3f}"


def shortened(text: str, width: int) -> str:
    """Cut the beginning of a text that is longer than ``width``, and mark it with an ellipsis."""
    return text if len(text) <= width else "…" + text[len(text) - width + 1 :]
