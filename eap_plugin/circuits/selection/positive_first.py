"""A share of the largest positive scores, and the rest by magnitude."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from eap_plugin.circuits.selection.base import Scores, Selected, Selection, best, ranking, scored, strength
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

    def order(self, scores: Scores, signed: bool, options: PositiveFirstOptions) -> Int[Tensor, "selected"]:
        """See ``Selection.order``: the next positive score where the share grows, or else the next of all."""
        matrix, allowed = scores.matrix.cpu(), scored(scores)
        positive = ranking(matrix, allowed & (matrix > 0)).tolist()
        everything = ranking(strength(matrix, signed), allowed).tolist()
        rest = iter(everything)
        found: dict[int, None] = {}
        for size in range(1, len(everything) + 1):
            share = int(size * options.ratio)
            if share <= len(positive) and share > int((size - 1) * options.ratio) and positive[share - 1] not in found:
                found[positive[share - 1]] = None
            else:
                found[next(item for item in rest if item not in found)] = None
        return torch.tensor(list(found), dtype=torch.long)
