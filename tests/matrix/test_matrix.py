"""The matrix itself: each case on both backends, against the oracle and against each other."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest

import eap_plugin
from tests.matrix.cases import FULL, Case, cases
from tests.matrix.data import batch, on
from tests.matrix.expected import expected
from tests.matrix.factors import ALGORITHMS, THE_SAME_NUMBERS
from tests.matrix.layouts import Scores, error, named
from tests.oracle.precision import InFloat64
from tests.support.zoo import FAMILIES

pytestmark = pytest.mark.exhaustive

TOLERANCE = 1e-9
BY_CHANCE = ("edge-pruning", "random")
"""Algorithms that draw random numbers, for which backends are compared with each other."""


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, record_property: pytest.RecordProperty) -> None:
    wrong, worst, here = [], dict[str, float](), list(cases(name, FULL))
    with InFloat64():
        for case in here:
            if case.refused(name):
                wrong += [f"{case}, {backend}: not refused" for backend in case.backends if scored(name, case, backend)]
                continue
            for backend, off in errors(name, case).items():
                key = f"{case.algorithm}, {backend}"
                worst[key] = max(worst.get(key, 0.0), off)
                if not off <= TOLERANCE:
                    wrong.append(f"{case}, {backend}: {off:.1e}")
    record_property("cases", len(here))
    for key, off in worst.items():
        record_property(f"matrix {key}", f"{off:.1e}")
    assert not wrong, "\n".join(wrong)


def scored(name: str, case: Case, backend: str) -> bool:
    """Whether a backend gives scores, and does not say what of the model it cannot see."""
    try:
        run(name, case, backend)
    except eap_plugin.EapPluginError as error:
        return not any(part in str(error) for part in ("that can be hooked", "that norm cannot be frozen"))
    return True


def errors(name: str, case: Case) -> dict[str, float]:
    """For each backend, how far its scores are from the oracle's, or from the first one's where there is none."""
    found = {backend: run(name, case, backend) for backend in case.backends}
    first = found[case.backends[0]]
    by_chance = case.algorithm in BY_CHANCE
    wanted = first if by_chance else expected(name, case.algorithm, case.options, case.padding, first)
    return {backend: error(scores, wanted) for backend, scores in found.items()}


def run(name: str, case: Case, backend: str) -> Scores:
    """Return the library's scores."""
    remote = "local" if backend == "simulated server" else False
    return named(
        eap_plugin.prune_scores(
            on(backend, name),
            [batch(case.padding)],
            algorithm=case.algorithm,
            batch_size=case.batch_size,
            remote=remote,
            **case.options,
        )
    )


@pytest.mark.parametrize("algorithm", list(eap_plugin.algorithms()))
def test_every_option_is_varied(algorithm: str) -> None:
    """And with every choice that it has, if these can be listed."""
    values: dict[str, set[Any]] = {}
    for choices in ALGORITHMS[algorithm].values():
        for options in choices:
            for option, value in options.items():
                values.setdefault(option, set()).add(value)
    kind = eap_plugin.algorithms()[algorithm].options
    hints = get_type_hints(kind)
    for option in fields(kind):
        if option.name in THE_SAME_NUMBERS:
            continue
        tried = values.get(option.name, set()) | {option.default}
        assert len(tried) > 1, option.name
        choices = {True, False} if hints[option.name] is bool else set(get_args(hints[option.name]))
        assert choices <= tried or not all(isinstance(choice, str | bool) for choice in choices), option.name
