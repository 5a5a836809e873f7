"""Rankings of edges, nodes or neurons by absolute score: the top, its overlap by chance, and rank correlation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.circuits.selection.base import Scores, best, scored
from eap_plugin.data.ranks import mean_ranks
from eap_plugin.errors import UsageError
from eap_plugin.results.prune_scores import PruneScores

DEFAULT_TOPS = (10, 50, 100)
"""The sizes of the top that are compared by default, as far as there are more edges."""


class Overlap(NamedTuple):
    """The number of elements that two sets share, and what it would be if one were drawn at random."""

    shared: int
    expected: float
    p_value: float


def chance_overlap(shared: int, first: int, second: int, total: int) -> Overlap:
    """Compare an overlap with that of random sets of the same sizes, which has a hypergeometric distribution.

    Args:
        shared: the number of elements that both sets have.
        first: the size of one set.
        second: the size of the other.
        total: the number of elements they are taken from.

    Returns:
        The overlap; its expectation by chance, first · second / total; and the probability that it is at least as large
        by chance.
    """
    from scipy.stats import hypergeom  # takes a second, which other commands should not

    return Overlap(shared, first * second / total, float(hypergeom.sf(shared - 1, total, first, second)))


def rank_correlation(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN if one of the two is constant or has no pair."""
    if len(x) < 2 or bool((x == x[0]).all()) or bool((y == y[0]).all()):
        return float("nan")
    return float(torch.corrcoef(torch.stack([mean_ranks(x), mean_ranks(y)]))[0, 1])


def values(scores: Scores) -> Float[Tensor, "n"]:
    """Return the scores of all edges, nodes or neurons as a vector in the matrix's order, in float64 on the CPU."""
    return scores.matrix.cpu().double()[scored(scores)]


def top_mask(scores: Scores, k: int) -> Bool[Tensor, "n"]:
    """Return, in the order of ``values``, a mask of the ``k`` largest absolute scores; ties in the matrix's order."""
    allowed = scored(scores)
    return best(scores.matrix.cpu().double().abs(), allowed, k)[allowed]


def aligned(a: Scores, b: Scores) -> tuple[Scores, Scores]:
    """Return two scores in the same layout: summed over positions, and over q, k and v if one of them is.

    Raises:
        UsageError: if they are of different levels or graphs.
    """
    a, b = a.sum_positions(), b.sum_positions()
    if isinstance(a, PruneScores) and isinstance(b, PruneScores) and a.graph.summed_qkv != b.graph.summed_qkv:
        a, b = a.sum_qkv(), b.sum_qkv()
    if a.level != b.level:
        raise UsageError(f"scores of {a.level}s and of {b.level}s cannot be compared; give scores of one level")
    if a.matrix.shape != b.matrix.shape or a.graph != b.graph:
        raise UsageError(
            f"scores of different graphs cannot be compared: {a.graph} and {b.graph}; "
            f"give scores of models of one shape"
        )
    return a, b


def tops(wanted: Sequence[int] | None, total: int) -> list[int]:
    """Return the sizes of the top to compare, by default those of ``DEFAULT_TOPS`` that are below ``total``.

    Raises:
        UsageError: if one is not between 1 and ``total``.
    """
    if wanted is None:
        return [k for k in DEFAULT_TOPS if k < total] or [max(1, total // 2)]
    for k in wanted:
        if not 1 <= k <= total:
            raise UsageError(f"the size of the top must be between 1 and the number of scores, {total}; got {k}")
    return list(wanted)
