"""The matrix itself: each case on both backends, against the oracle and against each other."""

from __future__ import annotations

import os
from dataclasses import fields
from typing import Any, get_args, get_type_hints

import pytest

import eap_plugin
from tests.matrix.cases import FAMILIES, Case, cases
from tests.matrix.data import batch, on
from tests.matrix.expected import expected
from tests.matrix.factors import ALGORITHMS, THE_SAME_NUMBERS
from tests.matrix.layouts import Scores, error, named
from tests.oracle.precision import InFloat64

FULL = os.environ.get("MATRIX") == "full"
TOLERANCE = 1e-9
BY_CHANCE = ("edge-pruning", "random")
"""Algorithms that draw random numbers, for which backends are compared with each other."""


@pytest.mark.parametrize("name", FAMILIES)
def test_family(name: str, record_property: pytest.RecordProperty) -> None:
    wrong, worst = [], dict[tuple[str, str], float]()
    for case in cases(name, FULL):
        for backend, off in errors(name, case).items():
            key = (case.algorithm, backend)
            worst[key] = max(worst.get(key, 0.0), off)
            if not off <= TOLERANCE:
                wrong.append(f"{case}, {backend}: {off:.1e}")
    for (algorithm, backend), off in worst.items():
        record_property(f"matrix {algorithm}, {backend}", f"{off:.1e}")
    assert not wrong, "\n".join(wrong)


def errors(name: str, case: Case) -> dict[str, float]:
    """For each backend, how far its scores are from the oracle's, or from the first one's where there is none."""
    backends = ["TransformerBridge", "nnsight"] + ["simulated server"] * case.simulated
    with InFloat64():
        found = {backend: run(on(backend, name), case, backend) for backend in backends}
        if case.algorithm in BY_CHANCE:
            wanted = found[backends[0]]
        else:
            wanted = expected(name, case.algorithm, case.options, case.padding, found[backends[0]])
    return {backend: error(scores, wanted) for backend, scores in found.items()}


def run(model: Any, case: Case, backend: str) -> Scores:
    """The library's scores."""
    remote = "local" if backend == "simulated server" else False
    return named(
        eap_plugin.prune_scores(
            model,
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
