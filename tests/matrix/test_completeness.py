"""Integrated scores add up to the change of the metric, at the rate at which their sums converge to integrals.

Not in mixtures of experts, which jump where other experts are chosen: there is no integral there.
"""

from __future__ import annotations

import pytest

from tests.matrix.cases import BACKENDS, FULL
from tests.matrix.completeness import Gaps
from tests.oracle.precision import InFloat64
from tests.support.zoo import FAMILIES, experts

SMOOTH = [name for name in FAMILIES if name not in experts.RECIPES]
RUNS = [
    (name, backend)
    for index, name in enumerate(SMOOTH)
    for offset, backend in enumerate(BACKENDS[:2])
    if index % (2 if FULL else 14) == offset
]
"""Each on one backend in the whole matrix; else some of them."""


@pytest.mark.parametrize(("name", "backend"), RUNS)
def test_sums_tend_to_the_change_of_the_metric(name: str, backend: str) -> None:
    """An error of second order in the step shrinks to a sixteenth where there are four times as many steps."""
    with InFloat64():
        gaps = Gaps(name, backend)
        found = {gap.__name__: (gap(8), gap(32)) for gap in (gaps.of_inputs, gaps.of_masks, gaps.of_places)}
    for gap, (few, many) in found.items():
        assert many < min(0.3 * few, 0.06), gap
