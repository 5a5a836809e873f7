"""The search for the smallest faithful size, on curves of any shape."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from eap_plugin.circuits.finding import PER_CALL, Search, smallest_size

CURVES = st.lists(st.floats(-1, 2), min_size=1, max_size=300)


class Curve:
    """A faithfulness by size that counts how it is measured."""

    def __init__(self, values: list[float]) -> None:
        self.values = values
        self.calls: list[list[int]] = []

    def __call__(self, sizes: Sequence[int]) -> list[float]:
        self.calls.append(list(sizes))
        return [self.values[size - 1] for size in sizes]

    def find(self, wanted: float, around: int) -> Search | None:
        return smallest_size(self, wanted, len(self.values), around)


@given(CURVES, st.floats(0, 1), st.integers(0, 10))
def test_of_a_rising_curve_the_smallest_size_is_found(values: list[float], wanted: float, around: int) -> None:
    curve = Curve(sorted(values))
    found = curve.find(wanted, around)
    reaching = [size for size, value in enumerate(curve.values, 1) if value >= wanted]
    if found is None:
        assert not reaching
    else:
        assert (found.size, found.n_short) == (reaching[0], 0)


@given(CURVES, st.floats(0, 1), st.integers(0, 10))
def test_of_any_curve_the_smallest_measured_size_is_found(values: list[float], wanted: float, around: int) -> None:
    curve = Curve(values)
    found = curve.find(wanted, around)
    sizes = [size for call in curve.calls for size in call]
    assert len(sizes) == len(set(sizes))  # none is measured twice
    if found is None:
        assert all(values[size - 1] < wanted for size in sizes) and len(values) in sizes
        return
    assert found.measured == {size: values[size - 1] for size in sorted(sizes)}
    assert values[found.size - 1] >= wanted
    assert all(values[size - 1] < wanted for size in sizes if size < found.size)
    assert set(range(max(1, found.size - around), min(len(values), found.size + around) + 1)) <= set(sizes)
    assert found.n_short == sum(values[size - 1] < wanted for size in sizes if size > found.size)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_few_sizes_are_measured(largest: int, share: float) -> None:
    answer = max(1, round(largest * share))
    calls: list[Sequence[int]] = []

    def measure(sizes: Sequence[int]) -> list[float]:
        calls.append(sizes)
        return [float(size >= answer) for size in sizes]

    found = smallest_size(measure, 0.9, largest, around=4)
    assert found is not None and found.size == answer
    assert len(calls) <= 13 and max(map(len, calls)) <= max(PER_CALL, 8)
