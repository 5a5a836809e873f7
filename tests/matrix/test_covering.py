"""The covering arrays cover, are small, and are the same every time."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from tests.matrix.covering import covering

FACTORS = {"family": range(45), "padding": range(3), "split": range(2), "ablation": range(4), "rule": range(2)}


@pytest.mark.parametrize("n_factors", range(1, 6))
def test_every_pair_occurs(n_factors: int) -> None:
    factors = dict(list(FACTORS.items())[:n_factors])
    rows = covering(factors)
    for row in rows:
        assert {name: row[name] in values for name, values in factors.items()} == dict.fromkeys(factors, True)
    for one, two in combinations(factors, 2):
        assert {(row[one], row[two]) for row in rows} == set(product(factors[one], factors[two]))
    assert {row["family"] for row in rows} == set(FACTORS["family"])


def test_there_are_few_rows() -> None:
    assert len(covering(FACTORS)) <= 1.1 * 45 * 4  # the two largest factors need as many as their product
    assert len(covering({str(i): range(2) for i in range(20)})) <= 14  # of 1,048,576


def test_a_seed_gives_the_same_rows() -> None:
    assert covering(FACTORS, 1) == covering(FACTORS, 1) != covering(FACTORS, 2)
