"""Comparison of two scores of the same edges, nodes or neurons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch

from eap_plugin.circuits.comparison.ranking import (
    aligned,
    chance_overlap,
    rank_correlation,
    top_mask,
    tops,
    values,
)
from eap_plugin.circuits.selection.base import Scores, scored
from eap_plugin.results.loading import scores_of
from eap_plugin.results.node_scores import Node
from eap_plugin.results.prune_scores import Edge
from eap_plugin.results.text_table import fixed, labelled, shortened, text_table


@dataclass(frozen=True)
class TopComparison:
    """The ``k`` largest absolute scores of each of two.

    Attributes:
        k: their number.
        shared: how many are among the top of both.
        expected: how many would be by chance, k² / n (hypergeometric distribution).
        p_value: the probability that at least as many are shared by chance.
        same_sign: the share of the shared ones that have the same sign; NaN if none is shared.
        rank_correlation: Spearman's, of the signed scores of those in the top of either.
    """

    k: int
    shared: int
    expected: float
    p_value: float
    same_sign: float
    rank_correlation: float


class Difference(NamedTuple):
    """An edge, node or neuron with both scores, and the difference of the scores relative to the largest of each."""

    name: str
    first: float
    second: float
    relative: float


@dataclass(frozen=True)
class ScoreComparison:
    """How far two scores agree.

    Attributes:
        names: the names of the two.
        level: ``edge``, ``node`` or ``neuron``.
        n: the number of scores.
        rank_correlation: Spearman's rank correlation of signed scores; NaN if one of them is constant.
        abs_rank_correlation: the same of absolute scores.
        same_sign: the share of those that are zero in neither that have the same sign in both; NaN if there are none.
        tops: comparisons of the largest absolute scores.
        differing: those that differ most, after dividing each of the two by its largest absolute score.
    """

    names: tuple[str, str]
    level: str
    n: int
    rank_correlation: float
    abs_rank_correlation: float
    same_sign: float
    tops: tuple[TopComparison, ...]
    differing: tuple[Difference, ...]

    @property
    def similarities(self) -> dict[str, float]:
        """The numbers that stand for the comparison where there are many."""
        last = self.tops[-1]
        return {
            f"rank correlation of |score|, {self.n:,} {self.level}s": self.abs_rank_correlation,
            f"share of the top {last.k} in common (by chance {last.k / self.n:.2f})": last.shared / last.k,
        }

    def table(self) -> str:
        """Return the comparison as text of at most 80 columns."""
        lines = [
            f"A  {shortened(self.names[0], 76)}",
            f"B  {shortened(self.names[1], 76)}",
            "",
            labelled(
                {
                    f"rank correlation of {self.n:,} {self.level}s": fixed(self.rank_correlation),
                    "the same of |score|": fixed(self.abs_rank_correlation),
                    "same sign": fixed(self.same_sign, signed=False),
                }
            ),
            "",
            text_table(
                ("Top", "Shared", "By chance", "p", "Same sign", "Rank correlation"),
                [
                    (
                        f"{top.k}",
                        f"{top.shared}",
                        f"{top.expected:.2f}",
                        f"{top.p_value:.1e}",
                        fixed(top.same_sign, signed=False),
                        fixed(top.rank_correlation),
                    )
                    for top in self.tops
                ],
            ),
        ]
        if self.differing:
            rows = [
                (part.name, f"{part.first:+.4g}", f"{part.second:+.4g}", f"{part.relative:+.3f}")
                for part in self.differing
            ]
            header = (f"Differs most: {self.level}", "A", "B", "A/max − B/max")
            lines += ["", text_table(header, rows)]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        return asdict(self) | {"differing": [part._asdict() for part in self.differing]}


def compare_scores(
    a: Scores, b: Scores, names: tuple[str, str], ks: Sequence[int] | None = None, n_differing: int = 10
) -> ScoreComparison:
    """Compare two scores; those kept per position are summed over positions first.

    Args:
        a: the first scores.
        b: the second.
        names: their names.
        ks: the numbers of largest absolute scores to compare; by default ``DEFAULT_TOPS``.
        n_differing: how many of those that differ most to list.

    Raises:
        UsageError: if they are of different levels or graphs, or one of ``ks`` is larger than the number of scores.
    """
    a, b = aligned(a, b)
    x, y = values(a), values(b)
    both = (x != 0) & (y != 0)
    return ScoreComparison(
        names,
        a.level,
        len(x),
        rank_correlation(x, y),
        rank_correlation(x.abs(), y.abs()),
        _share((x[both] > 0) == (y[both] > 0)),
        tuple(_compare_tops(a, b, x, y, k) for k in tops(ks, len(x))),
        _differing(a, b, n_differing),
    )


def _compare_tops(a: Scores, b: Scores, x: torch.Tensor, y: torch.Tensor, k: int) -> TopComparison:
    in_a, in_b = top_mask(a, k), top_mask(b, k)
    shared, either = in_a & in_b, in_a | in_b
    overlap = chance_overlap(int(shared.sum()), k, k, len(x))
    same_sign = _share(x[shared].sign() == y[shared].sign())
    return TopComparison(k, *overlap, same_sign, rank_correlation(x[either], y[either]))


def _share(mask: torch.Tensor) -> float:
    return float(mask.double().mean())


def _differing(a: Scores, b: Scores, n: int) -> tuple[Difference, ...]:
    """Return those of largest difference, ties in the matrix's order."""
    first, second = a.matrix.cpu().double(), b.matrix.cpu().double()
    relative = _relative(first) - _relative(second)
    found: Sequence[Edge | Node] = scores_of(a.level, a.graph, relative, {}).top(n)
    order = torch.sort(relative.abs().masked_fill(~scored(a), -1).flatten(), descending=True, stable=True).indices
    places = [torch.unravel_index(index, relative.shape) for index in order[: len(found)]]
    return tuple(
        Difference(part.name, float(first[place]), float(second[place]), part.score)
        for part, place in zip(found, places, strict=True)
    )


def _relative(matrix: torch.Tensor) -> torch.Tensor:
    largest = matrix.abs().max()
    return matrix / largest if largest > 0 else matrix
