"""A share of the largest positive scores, and the rest by magnitude."""

from __future__ import annotations

from dataclasses import dataclass

from eap_plugin.circuits.selection.base import Scores, Selected, Selection, best, scored, strength
from eap_plugin.host.options import option


@dataclass(frozen=True)
class PositiveFirstOptions:
    """Options of ``positive-first``."""

    ratio: float = option(
        0.5, help="Share of the size that the largest positive scores fill, rounded down.", minimum=0, maximum=1
    )


class PositiveFirst(Selection[PositiveFirstOptions]):
    """What helps the behaviour first, then the strongest of the rest.

    The first int(size · ratio) are those of largest positive score (all positive ones, if there are fewer); the rest
    of the size is filled by absolute score, or by score if ``signed``.
    """

    name = "positive-first"
    summary = "a share by largest positive score, the rest by absolute score"
    reference = "Nikankin et al. 2025, arXiv 2510.06811"
    options = PositiveFirstOptions

    def select(self, scores: Scores, size: int, signed: bool, options: PositiveFirstOptions) -> Selected:
        """Select ``size``; see ``Selection.select``."""
        matrix, allowed = scores.matrix.cpu(), scored(scores)
        first = best(matrix, allowed & (matrix > 0), int(size * options.ratio))
        return Selected(best(strength(matrix, signed), allowed, size, first))
