"""Integrated scores add up to the change of the metric, at the rate at which their sums converge to integrals.

Not in mixtures of experts, which jump where other experts are chosen: there is no integral there.
"""

from __future__ import annotations

import pytest

from tests.matrix.cases import BACKENDS, FULL
from tests.matrix.completeness import Gaps
from tests.oracle.precision import InFloat64
from tests.zoo import FAMILIES, experts

SMOOTH = [name for name in FAMILIES if name not in experts.RECIPES]
RUNS = [
    (name, backend)
    for index, name in enumerate(SMOOTH)
    for offset, backend in enumerate(BACKENDS[:2])
    if FULL or index % 10 == 3 * offset
]
"""All of them in the whole matrix; else some, others on each backend."""


@pytest.mark.parametrize(("name", "backend"), RUNS)
def test_sums_tend_to_the_change_of_the_metric(name: str, backend: str) -> None:
    with InFloat64():
        gaps = Gaps(name, backend)
        assert abs(gaps.change) > 0.1
        few, many = gaps.of_inputs(8), gaps.of_inputs(64)
        assert many < min(0.1 * few, 5e-3)
        few, many = gaps.of_masks(8), gaps.of_masks(32)
        assert many < min(0.25 * few, 2e-2)
        few, many = gaps.of_places(4), gaps.of_places(16)
        assert many < min(0.5 * few, 0.1)
