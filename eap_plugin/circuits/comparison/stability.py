"""Stability of scores: how far scores on one half of the prompts agree with those on the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from eap_plugin.circuits.comparison.two_scores import compare_scores
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.errors import UsageError
from eap_plugin.results.text_table import fixed, shortened, text_table


class Spread(NamedTuple):
    """The mean of a number over splits, and the interval that holds 95 % of them."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Stability:
    """How far scores on two random halves of the prompts agree, over several splits.

    Each half has half of the prompts, so the scores on all of them are more stable than this.

    Attributes:
        name: the name of the scores.
        level: ``edge``, ``node`` or ``neuron``.
        n: the number of scores.
        n_groups: the number of groups of prompts that are divided into halves.
        n_splits: the number of random divisions.
        rank_correlation: Spearman's rank correlation of signed scores.
        abs_rank_correlation: the same of absolute scores.
        same_sign: the share of scores with the same sign.
        shared: for each k, how many of the k largest absolute scores of one half are among those of the other.
    """

    name: str
    level: str
    n: int
    n_groups: int
    n_splits: int
    rank_correlation: Spread
    abs_rank_correlation: Spread
    same_sign: Spread
    shared: dict[int, Spread]

    def table(self) -> str:
        """Return the stability as text of at most 80 columns."""
        rows = [
            ("rank correlation", *map(fixed, self.rank_correlation)),
            ("the same of |score|", *map(fixed, self.abs_rank_correlation)),
            ("same sign", *(fixed(value, signed=False) for value in self.same_sign)),
            *(
                (f"shared of the top {k} (by chance {k * k / self.n:.2f})", *(f"{value:.1f}" for value in spread))
                for k, spread in self.shared.items()
            ),
        ]
        return "\n".join(
            [
                f"{shortened(self.name, 80)}",
                f"{self.n:,} {self.level}s on one half of the prompts against the other: "
                f"{self.n_splits} random splits of",
                f"{self.n_groups} groups of prompts; mean, and interval of 95 % of the splits",
                "",
                text_table(("", "Mean", "From", "To"), rows),
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the stability as plain values."""
        spreads = ("rank_correlation", "abs_rank_correlation", "same_sign")
        return asdict(self) | {
            **{name: getattr(self, name)._asdict() for name in spreads},
            "shared": {str(k): spread._asdict() for k, spread in self.shared.items()},
        }


def stability(
    scores: Scores, name: str, ks: Sequence[int] | None = None, n_splits: int = 100, seed: int = 0
) -> Stability:
    """Compare scores on random halves of the prompts.

    Args:
        scores: scores that are kept by group of prompts; those kept per position are summed over positions first.
        name: their name.
        ks: the numbers of largest absolute scores to compare; by default ``DEFAULT_TOPS``.
        n_splits: the number of random splits of the groups into halves; with an odd number of groups, one half has one
            more.
        seed: seed of the splits.

    Raises:
        UsageError: if the scores are not kept by group, or one of ``ks`` is larger than the number of scores.
    """
    scores = scores.sum_positions()
    groups = scores.groups
    if groups is None:
        raise UsageError(
            f"{name} alone can only be compared with itself, by halves of its prompts, if it was scored with groups=16 "
            f"(eap run --groups 16); or give other scores to compare it with"
        )
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n_splits):
        order = torch.randperm(len(groups), generator=generator)
        halves = [replace(scores, matrix=groups[part].sum(0), groups=None) for part in order.tensor_split(2)]
        found.append(compare_scores(halves[0], halves[1], (name, name), ks, n_differing=0))
    return Stability(
        name,
        scores.level,
        found[0].n,
        len(groups),
        n_splits,
        _spread([pair.rank_correlation for pair in found]),
        _spread([pair.abs_rank_correlation for pair in found]),
        _spread([pair.same_sign for pair in found]),
        {top.k: _spread([pair.tops[place].shared for pair in found]) for place, top in enumerate(found[0].tops)},
    )


def _spread(numbers: Sequence[float]) -> Spread:
    low, high = np.quantile(numbers, (0.025, 0.975))
    return Spread(float(np.mean(numbers)), float(low), float(high))
