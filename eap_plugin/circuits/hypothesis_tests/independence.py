"""Independence: whether the model without the circuit still follows the model (Shi et al. 2024, section 3)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from eap_plugin.circuits.hypothesis_tests.result import HypothesisTest

ROUNDING = 1e-12
"""How far two values of the statistic, which is at most 1, may differ when they would be equal but for rounding."""

Square = npt.NDArray[np.float64]


def independence(
    model: Float[Tensor, "prompts"],
    without_circuit: Float[Tensor, "prompts"],
    *,
    permutations: int = 1000,
    seed: int = 0,
    alpha: float = 0.05,
) -> HypothesisTest:
    """Test whether the scores of the model without the circuit are independent of the model's own.

    The statistic is the Hilbert-Schmidt independence criterion (Gretton et al. 2007) with Gaussian kernels. The width
    of each kernel is the median distance between two prompts' scores. The p-value is that of a permutation test,
    (1 + number of permutations with at least this value) / (1 + permutations).

    Args:
        model: scores of the model.
        without_circuit: scores of the model with only the circuit's edges patched.
        permutations: the number of random permutations of the prompts.
        seed: the seed of the permutations.
        alpha: the significance level.
    """
    ours, theirs = (_centred(_kernel(scores.double().numpy(force=True))) for scores in (model, without_circuit))
    observed = _hsic(ours, theirs)
    rng = np.random.default_rng(seed)
    draws = (rng.permutation(len(ours)) for _ in range(permutations))
    as_large = sum(_hsic(ours, theirs[np.ix_(draw, draw)]) >= observed - ROUNDING for draw in draws)
    p_value = (1 + as_large) / (1 + permutations)
    rejected = p_value <= alpha
    return HypothesisTest(
        name="independence",
        null="the scores of the model without the circuit are independent of the scores of the model",
        statistic=observed,
        p_value=p_value,
        rejected=rejected,
        passed=not rejected,
        sentence=(
            "Without the circuit, the scores "
            f"{'still depend on' if rejected else 'show no significant dependence on'} those of the model."
        ),
    )


def _kernel(scores: npt.NDArray[np.float64]) -> Square:
    distances = np.abs(scores[:, None] - scores)
    apart = distances[np.triu_indices(len(scores), 1)]
    width = np.median(apart) if len(apart) else 0.0
    kernel: Square = np.exp(-((distances / width) ** 2) / 2) if width else np.float64(distances == 0)
    return kernel


def _centred(kernel: Square) -> Square:
    rows = kernel.mean(0)
    centred: Square = kernel - rows - rows[:, None] + rows.mean()
    return centred


def _hsic(a: Square, b: Square) -> float:
    return float((a * b).mean())
