"""Comparison of more than two scores or circuits, by pairs."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan
from string import ascii_uppercase
from typing import Any

from eap_plugin.circuits.comparison.two_circuits import CircuitComparison
from eap_plugin.circuits.comparison.two_scores import ScoreComparison
from eap_plugin.results.text_table import shortened, text_table

SHADES = " ░▒▓█"


@dataclass(frozen=True)
class PairwiseComparison:
    """All pairs of several scores or circuits.

    Attributes:
        names: the names of the scores or circuits.
        pairs: the comparison of each two of them, by their indices in ``names``, the smaller first.
    """

    names: tuple[str, ...]
    pairs: dict[tuple[int, int], ScoreComparison | CircuitComparison]

    def table(self) -> str:
        """Return a heat map for each measure of similarity, as text; 80 columns hold up to 8 of them."""
        labels = [_label(index) for index in range(len(self.names))]
        lines = [f"{label}  {shortened(name, 76)}" for label, name in zip(labels, self.names, strict=True)]
        for place, measure in enumerate(next(iter(self.pairs.values())).similarities):
            rows = [
                [label, *(_cell(self._similarity(row, column, place)) for column in range(len(labels)))]
                for row, label in enumerate(labels)
            ]
            lines += ["", measure[0].upper() + measure[1:], text_table(["", *labels], rows)]
        return "\n".join(lines)

    def _similarity(self, row: int, column: int, place: int) -> float:
        if row == column:
            return 1.0
        return list(self.pairs[min(row, column), max(row, column)].similarities.values())[place]

    def to_dict(self) -> dict[str, Any]:
        """Return the comparisons of all pairs as plain values."""
        return {"names": list(self.names), "pairs": [pair.to_dict() for pair in self.pairs.values()]}


def _label(index: int) -> str:
    rest, place = divmod(index, len(ascii_uppercase))
    return ascii_uppercase[place] + (str(rest) if rest else "")


def _cell(similarity: float) -> str:
    """Return a number with a shade, the darker the closer it is to 1; negative numbers have none."""
    if isnan(similarity):
        return "-  "
    shade = SHADES[min(len(SHADES) - 1, int(max(0.0, similarity) * len(SHADES)))]
    return f"{similarity:+.2f}{shade * 2}"
