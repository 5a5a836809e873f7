"""Covering arrays: few rows in which every pair of two factors' values occurs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from random import Random

Row = dict[str, int]
"""For each factor, which of its values."""

_Pair = tuple[tuple[str, int], tuple[str, int]]


def covering(factors: Mapping[str, Sequence[object]], seed: int = 0) -> list[Row]:
    """Rows in which every pair of values of two factors occurs; the same ones for the same seed.

    Greedy: each row starts from a pair that is missing and takes, factor by factor, the value with most missing pairs.
    """
    random, names = Random(seed), list(factors)
    if len(names) == 1:
        return [{names[0]: value} for value in range(len(factors[names[0]]))]
    missing = dict.fromkeys(
        ((one, a), (two, b))
        for one, two in combinations(names, 2)
        for a in range(len(factors[one]))
        for b in range(len(factors[two]))
    )
    rows = []
    while missing:
        row = dict(next(iter(missing)))
        others = [name for name in names if name not in row]
        random.shuffle(others)
        for name in others:
            values = list(range(len(factors[name])))
            random.shuffle(values)
            row[name] = max(values, key=lambda value: sum(pair in missing for pair in _pairs(row, name, value, names)))
        for pair in combinations(((name, row[name]) for name in names), 2):
            missing.pop(pair, None)
        rows.append(row)
    return rows


def _pairs(row: Row, name: str, value: int, names: Sequence[str]) -> list[_Pair]:
    """List the pairs that a row gains with a factor's value, each in the order of the factors."""
    new = (name, value)
    return [(old, new) if names.index(old[0]) < names.index(name) else (new, old) for old in row.items()]
