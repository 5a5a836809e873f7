"""Integrated scores add up to the change of the metric, at the rate at which their sums converge to integrals.

Not in mixtures of experts, which jump where other experts are chosen, nor with ReLU and clipping, whose kinks change
the rate.
"""

from __future__ import annotations

import pytest

from tests.matrix.cases import BACKENDS, FULL
from tests.matrix.completeness import Gaps
from tests.oracle.precision import InFloat64
from tests.support.zoo import FAMILIES, experts

pytestmark = pytest.mark.exhaustive

KINKED = ("opt", "opt_projected", "olmo_clipped")
SMOOTH = [name for name in FAMILIES if name not in experts.RECIPES and name not in KINKED]
RUNS = [
    (name, backend)
    for index, name in enumerate(SMOOTH)
    for offset, backend in enumerate(BACKENDS[:2])
    if index % (2 if FULL else 14) == offset
]
"""Each on one backend in the whole matrix; else some of them."""


@pytest.mark.parametrize(("name", "backend"), RUNS)
def test_sums_tend_to_the_change_of_the_metric(name: str, backend: str) -> None:
    """An error of second order in the step shrinks to a sixteenth where there are four times as many steps.

    Not one that is small with few steps already, because its parts cancel.
    """
    with InFloat64():
        gaps = Gaps(name, backend)
        found = {gap.__name__: (gap(8), gap(32)) for gap in (gaps.of_inputs, gaps.of_masks, gaps.of_places)}
    for gap, (few, many) in found.items():
        assert many < min(max(0.3 * few, 1e-3), 0.06), gap
