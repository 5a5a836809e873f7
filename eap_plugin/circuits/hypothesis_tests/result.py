"""The result of a hypothesis test on a circuit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HypothesisTest:
    """The result of one test.

    Attributes:
        name: the property tested, such as "sufficiency".
        null: the null hypothesis, in words.
        statistic: the test's statistic; the function that makes the test says which.
        p_value: the probability of a statistic at least as extreme if the null hypothesis holds.
        rejected: whether the p-value is at most the significance level.
        passed: whether the outcome is the one hoped for: of sufficiency and necessity, that the null hypothesis is
            rejected; of the others, that it is not.
        sentence: what was found, in one sentence.
    """

    name: str
    null: str
    statistic: float
    p_value: float
    rejected: bool
    passed: bool
    sentence: str


@dataclass(frozen=True)
class EdgeNeed:
    """What minimality found for one edge of the circuit.

    Attributes:
        edge: the edge's name.
        effect: the mean over prompts of the squared change of the score when the edge is knocked out.
        p_value: the p-value, corrected for the number of edges tested.
        needed: whether the hypothesis that the edge is needed was not rejected.
    """

    edge: str
    effect: float
    p_value: float
    needed: bool


@dataclass(frozen=True)
class Minimality(HypothesisTest):
    """The result of the test of minimality, with what it found for each edge."""

    edges: tuple[EdgeNeed, ...]


def read_test(record: Mapping[str, Any]) -> HypothesisTest:
    """Return the test whose fields, as ``dataclasses.asdict`` gives them, are in ``record``."""
    if "edges" not in record:
        return HypothesisTest(**record)
    return Minimality(**{**record, "edges": tuple(EdgeNeed(**edge) for edge in record["edges"])})
