"""The edges, nodes or neurons of largest score."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Int
from torch import Tensor

from eap_plugin.circuits.selection.base import Scores, Selected, Selection, best, ranking, scored, strength


@dataclass(frozen=True)
class TopOptions:
    """No options."""


class Top(Selection[TopOptions]):
    """The strongest, whether or not they are connected."""

    name = "top"
    summary = "the largest scores, or absolute scores"
    reference = "Syed et al. 2023, arXiv 2310.10348"
    options = TopOptions

    def select(self, scores: Scores, size: int, signed: bool, options: TopOptions) -> Selected:
        """Select the ``size`` largest; see ``Selection.select``."""
        return Selected(best(strength(scores.matrix.cpu(), signed), scored(scores), size))

    def order(self, scores: Scores, signed: bool, options: TopOptions) -> Int[Tensor, "selected"]:
        """See ``Selection.order``."""
        return ranking(strength(scores.matrix.cpu(), signed), scored(scores))
