"""Equivalence: whether circuit and model have the same chance of the higher score (Shi et al. 2024, section 3)."""

from __future__ import annotations

from jaxtyping import Float
from scipy.stats import binom
from torch import Tensor

from eap_plugin.circuits.hypothesis_tests.result import HypothesisTest


def equivalence(
    model: Float[Tensor, "prompts"], circuit: Float[Tensor, "prompts"], *, epsilon: float = 0.1, alpha: float = 0.05
) -> HypothesisTest:
    """Test whether the circuit's chance of a higher score than the model's is within ``epsilon`` of one half.

    The statistic is the share of prompts on which the circuit's score is higher. The p-value is exact: the probability,
    at a chance of ½ + ``epsilon``, of a share at least as far from one half. Prompts on which both scores are equal
    are left out, as in a sign test; if all are, the p-value is 1 and the statistic ½.

    Args:
        model: scores of the model.
        circuit: scores of the circuit alone.
        epsilon: how far from one half the chance may be.
        alpha: the significance level.
    """
    higher, lower = int((circuit > model).sum()), int((circuit < model).sum())
    count, tied = higher + lower, len(model) - higher - lower
    p_value = _p_value(higher, count, epsilon)
    rejected = p_value <= alpha
    equal = f" (equal on {tied} more)" if tied else ""
    return HypothesisTest(
        name="equivalence",
        null=f"the chance that the circuit's score is higher than the model's is within {epsilon:g} of one half",
        statistic=higher / count if count else 0.5,
        p_value=p_value,
        rejected=rejected,
        passed=not rejected,
        sentence=(
            f"The circuit's score is higher than the model's on {higher} of {count} prompts{equal}, a share "
            f"{'significantly' if rejected else 'not significantly'} further than {epsilon:g} from one half."
        ),
    )


def _p_value(higher: int, count: int, epsilon: float) -> float:
    """Return P(|K/count − ½| ≥ |higher/count − ½|) for K binomial with chance ½ + epsilon, the worst case allowed."""
    few = min(higher, count - higher)
    if 2 * few == count:
        return 1.0
    chance = 0.5 + epsilon
    return float(binom.cdf(few, count, chance) + binom.sf(count - few - 1, count, chance))
