"""How uncertain scores are, from their sums over disjoint groups of prompts.

The groups are a random partition of the prompts. So the differences between their scores show how much scores would
differ if they were computed on other prompts of the same kind (the method of random groups: Wolter 2007, Introduction
to Variance Estimation, 2nd edition, chapter 2).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.errors import UsageError


class Grouped:
    """Scores that may be kept by group of prompts.

    Attributes:
        matrix: the scores.
        groups: the scores summed over the prompts of each group, which add up to the matrix; ``None`` if not kept.
        group_weights: for each group, the sum of the weights of its prompts in the scores, and of their squares; a
            prompt's weight is 1 / prompts of its batch. ``None`` if all groups have the same.
    """

    matrix: Float[Tensor, "*scores"]
    groups: Float[Tensor, "groups *scores"] | None
    group_weights: Float[Tensor, "groups 2"] | None

    @property
    def stderr(self) -> Float[Tensor, "*scores"]:
        """The standard error of every score, over prompts of the kind that it was computed on.

        A score S is a sum over prompts with weights w (1 / prompts of its batch). With T_k the sum over group k, and
        ω_k = Σ_{p in k} w_p / Σ_p w_p and v_k = Σ_{p in k} w_p² its share of the weights and the sum of their squares,

            stderr² = v / c · Σ_k (T_k − ω_k S)² / v_k        v = Σ_k v_k        c = Σ_k (1 − 2 ω_k + ω_k² v / v_k)

        This is unbiased for independent prompts of the same mean and variance. With K groups of the same size it is
        K / (K − 1) Σ_k (T_k − S / K)² (Wolter 2007, section 2.2), which equals the jackknife's that leaves out a group
        at a time. If batches are of the same size, c is K − 1.

        Raises:
            UsageError: if the scores are not kept by group.
        """
        groups = self._required()
        share, square = self._weights().to(groups.device, torch.float64).unbind(1)
        total = square.sum()
        c = (1 - 2 * share + share**2 * total / square).sum()
        deviation = groups.double() - _along(share, groups) * groups.double().sum(0)
        return (total / c * (deviation**2 / _along(square, groups)).sum(0)).sqrt().to(groups.dtype)

    def significant(self, alpha: float = 0.05) -> Bool[Tensor, "*scores"]:
        """Return a mask that is true where the sign of a score is established.

        There, the two-sided test that the mean score over prompts is zero rejects it: |score| / stderr is above the
        1 − alpha / 2 quantile of Student's t distribution with groups − 1 degrees of freedom. Each score is tested on
        its own, so about a share ``alpha`` of the scores that are really zero passes.

        Args:
            alpha: the probability with which a score whose mean is zero passes.

        Raises:
            UsageError: if the scores are not kept by group, or ``alpha`` is not between 0 and 1.
        """
        if not 0 < alpha < 1:
            raise UsageError(f"alpha is a probability between 0 and 1, got {alpha}")
        from scipy.special import stdtrit  # takes a third of a second, which reading a file should not

        quantile = float(stdtrit(len(self._required()) - 1, 1 - alpha / 2))
        return self.matrix.abs() > quantile * self.stderr

    def resample(self, n: int, seed: int = 0) -> Iterator[Float[Tensor, "*scores"]]:
        """Yield ``n`` bootstrap resamples of the scores, each from as many groups, drawn with replacement.

        A resample is the sum of the drawn groups, divided by their share of the weights of all prompts (1 if groups are
        of the same size). The variance of resamples is (K − 1) / K of ``stderr``², with K groups (Efron 1979).

        Args:
            n: the number of resamples.
            seed: seed of the random numbers.

        Raises:
            UsageError: if the scores are not kept by group.
        """
        groups, share = self._required(), self._weights()[:, 0]
        return self._resamples(groups, share, n, torch.Generator().manual_seed(seed))

    def _resamples(self, groups: Tensor, share: Tensor, n: int, generator: torch.Generator) -> Iterator[Tensor]:
        for _ in range(n):
            drawn = torch.randint(len(groups), (len(groups),), generator=generator)
            times = torch.bincount(drawn, minlength=len(groups)).double()
            times = (times / (times @ share)).to(groups)
            yield torch.tensordot(times, groups, 1)

    def _required(self) -> Float[Tensor, "groups *scores"]:
        if self.groups is None:
            raise UsageError(
                "these scores are not kept by group of prompts, which standard errors need; score with groups=16 "
                "(eap run --groups 16)"
            )
        return self.groups

    def _weights(self) -> Float[Tensor, "groups 2"]:
        """Return each group's share of the weights, and the sum of their squares."""
        assert self.groups is not None
        n = len(self.groups)
        weights = torch.full((n, 2), 1 / n, dtype=torch.float64) if self.group_weights is None else self.group_weights
        return weights / torch.stack([weights[:, 0].sum(), torch.ones((), dtype=weights.dtype)])

    def _check_groups(self) -> None:
        """Check the shapes.

        Raises:
            UsageError: if they do not match the matrix.
        """
        if self.groups is None:
            return
        if len(self.groups) < 2 or self.groups.shape[1:] != self.matrix.shape:
            raise UsageError(
                f"sums over groups of these scores must be [groups, {', '.join(map(str, self.matrix.shape))}], with at "
                f"least 2 groups; got {list(self.groups.shape)}"
            )
        if self.group_weights is not None and list(self.group_weights.shape) != [len(self.groups), 2]:
            raise UsageError(
                f"weights of groups must be [groups={len(self.groups)}, 2], got {list(self.group_weights.shape)}"
            )


def same_groups(a: Grouped, b: Grouped) -> bool:
    """Return whether two scores have sums over groups of the same number and weights."""
    if a.groups is None or b.groups is None or len(a.groups) != len(b.groups):
        return False
    if a.group_weights is None or b.group_weights is None:
        return a.group_weights is b.group_weights
    return torch.equal(a.group_weights, b.group_weights)


def _along(values: Float[Tensor, "groups"], like: Float[Tensor, "groups *scores"]) -> Tensor:
    """Reshape one value per group so that it broadcasts over scores."""
    return values.view(-1, *[1] * (like.ndim - 1))
