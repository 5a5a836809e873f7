"""What has a sign that the prompts establish, before the rest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from eap_plugin.circuits.selection.base import Scores, Selected, Selection, best, ranking, scored, strength
from eap_plugin.host.options import option


@dataclass(frozen=True)
class BootstrapOptions:
    """Options of ``bootstrap``."""

    alpha: float = option(
        0.05, help="Probability with which a score that is really zero counts as established.", minimum=0, maximum=1
    )


class Bootstrap(Selection[BootstrapOptions]):
    """The strongest of those whose score differs from zero over prompts, then the strongest of the rest.

    Which these are says ``scores.significant(alpha)``, a t-test over groups of prompts, where the reference has a
    normal interval of the mean of resampled scores. It needs scores that are kept by group of prompts.
    """

    name = "bootstrap"
    summary = "what differs from zero over prompts, then the rest, by score"
    reference = "Nikankin et al. 2025, arXiv 2510.06811"
    options = BootstrapOptions

    def select(self, scores: Scores, size: int, signed: bool, options: BootstrapOptions) -> Selected:
        """Select ``size``; see ``Selection.select``.

        Raises:
            UsageError: if the scores are not kept by group of prompts.
        """
        ranked, allowed = strength(scores.matrix.cpu(), signed), scored(scores)
        established = _established(scores, options)
        mask = best(ranked, allowed, size, best(ranked, established, size))
        return Selected(mask, {"established": int((mask & established).sum())})

    def order(self, scores: Scores, signed: bool, options: BootstrapOptions) -> Int[Tensor, "selected"]:
        """See ``Selection.order``, with the errors of ``select``."""
        ranked, established = strength(scores.matrix.cpu(), signed), _established(scores, options)
        return torch.cat([ranking(ranked, established), ranking(ranked, scored(scores) & ~established)])


def _established(scores: Scores, options: BootstrapOptions) -> Bool[Tensor, "sources *columns"]:
    """Return a mask of what has a sign that the prompts establish."""
    return scored(scores) & scores.significant(options.alpha).cpu()
