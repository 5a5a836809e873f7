"""Sufficiency and necessity: a circuit against random circuits of its size (Shi et al. 2024, section 4)."""

from __future__ import annotations

from jaxtyping import Float
from scipy.stats import binomtest
from torch import Tensor

from eap_plugin.circuits.hypothesis_tests.result import HypothesisTest


def distance(
    ours: Float[Tensor, "*circuits prompts"], theirs: Float[Tensor, "*circuits prompts"]
) -> Float[Tensor, "*circuits"]:
    """Return the mean over prompts of the squared difference of scores, the paper's measure of (un)faithfulness."""
    return (ours.double() - theirs.double()).square().mean(-1)


def sufficiency(
    model: Float[Tensor, "prompts"],
    circuit: Float[Tensor, "prompts"],
    random: Float[Tensor, "circuits prompts"],
    *,
    quantile: float = 0.9,
    alpha: float = 0.05,
) -> HypothesisTest:
    """Test whether a circuit is closer to the model than a share ``quantile`` of random circuits of its size.

    The statistic is the share of random circuits that are further from the model; it counts no ties. The test is a
    one-sided binomial test.

    Args:
        model: scores of the model.
        circuit: scores of the circuit alone.
        random: scores of the random circuits alone.
        quantile: the share of all random circuits that the circuit is to beat.
        alpha: the significance level.
    """
    beaten = int((distance(random, model) > distance(circuit, model)).sum())
    p_value = float(binomtest(beaten, len(random), quantile, alternative="greater").pvalue)
    rejected = p_value <= alpha
    return HypothesisTest(
        name="sufficiency",
        null=f"the circuit is closer to the model than at most {quantile:.0%} of random circuits of its size",
        statistic=beaten / len(random),
        p_value=p_value,
        rejected=rejected,
        passed=rejected,
        sentence=(
            f"On its own the circuit is closer to the model than {beaten} of {len(random)} random circuits of its "
            f"size, {_significance(rejected, quantile)}."
        ),
    )


def necessity(
    model: Float[Tensor, "prompts"],
    without_circuit: Float[Tensor, "prompts"],
    without_random: Float[Tensor, "circuits prompts"],
    *,
    quantile: float = 0.9,
    alpha: float = 0.05,
) -> HypothesisTest:
    """Test whether removing a circuit does more harm than removing a share ``quantile`` of random circuits of its size.

    This is the paper's partial necessity. The statistic is the share of random circuits whose removal changes scores
    less; it counts no ties. The test is a one-sided binomial test.

    Args:
        model: scores of the model.
        without_circuit: scores of the model with only the circuit's edges patched.
        without_random: the same for each random circuit.
        quantile: the share of all random circuits that the circuit is to beat.
        alpha: the significance level.
    """
    beaten = int((distance(without_random, model) < distance(without_circuit, model)).sum())
    p_value = float(binomtest(beaten, len(without_random), quantile, alternative="greater").pvalue)
    rejected = p_value <= alpha
    return HypothesisTest(
        name="necessity",
        null=f"removing the circuit does more harm than removing at most {quantile:.0%} of random circuits of its size",
        statistic=beaten / len(without_random),
        p_value=p_value,
        rejected=rejected,
        passed=rejected,
        sentence=(
            f"Removing the circuit changes the scores more than removing {beaten} of {len(without_random)} random "
            f"circuits of its size, {_significance(rejected, quantile)}."
        ),
    )


def _significance(rejected: bool, quantile: float) -> str:
    return f"{'significantly' if rejected else 'not significantly'} more than {quantile:.0%}"
