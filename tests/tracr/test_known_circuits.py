"""Algorithms against circuits that are known beforehand: how well do scores tell their edges from the others?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin import PruneScores
from tests.support.bridges import bridge
from tests.tracr.cases import CASES, batch
from tests.tracr.programs import Program, load

pytestmark = pytest.mark.exhaustive

NEGLIGIBLE = 1e-3
"""Of the largest score: smaller ones count as zero, since nobody would take such an edge for part of a circuit."""

WRAPPERS: dict[str, Callable[[Any], object]] = {"transformer_lens": bridge, "nnsight": nnsight.NNsight}
OPTIONS: dict[str, dict[str, Any]] = {"acdc": {"thresholds": 2}, "edge-pruning": {"steps": 100, "warmup": 30}}
"""Fewer thresholds and steps than by default, which suffice here."""

METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, OPTIONS.get(name, {})) for name in eap_plugin.algorithms()},
    "atp-star without gradient drop": ("atp-star", {"grad_drop": False}),
}


def found(n_edges: int) -> float:
    """Compute the result with ``n_edges`` of the seven edges of ``reverse, lengths`` and all other scores zero."""
    return (1 + n_edges / 7) / 2


NOT_ALL: dict[str, dict[str, float]] = {
    "activation-magnitude": {"reverse": 0.743, "reverse, lengths": 0.663, "xproportion": 0.608},
    "information-flow-routes": {"reverse": 0.617, "reverse, lengths": 0.682, "xproportion": 0.65},
    "random": {"reverse": 0.66, "reverse, lengths": 0.488, "xproportion": 0.3},
    "atp-star": {"reverse, lengths": found(3), "xproportion": 0.833},
    "atp-star without gradient drop": {"reverse, lengths": found(3)},
    "clean-corrupted": {"reverse, lengths": found(2)},
    "eap": {"reverse, lengths": found(2)},
    "eap-gp": {"reverse, lengths": found(1)},
    "eap-ig-activations": {"reverse, lengths": found(6)},
    "eap-ig-inputs": {"reverse, lengths": found(1)},
    "edge-pruning": {"reverse, lengths": 0.929},
    "gim": {"reverse, lengths": found(5)},
    "mask-gradient": {"reverse, lengths": found(2)},
    "relp": {"reverse, lengths": found(2)},
}
"""The area under the ROC curve that a method reaches where it is not 1; docs/accuracy.md says why."""


@pytest.fixture(scope="module", params=WRAPPERS)
def models(request: pytest.FixtureRequest) -> dict[str, tuple[Program, object]]:
    programs = {case.program: load(case.program) for case in CASES.values()}
    return {name: (program, WRAPPERS[request.param](program.model)) for name, program in programs.items()}


@pytest.mark.parametrize("name", sorted({case.program for case in CASES.values()}))
def test_model_is_the_compiled_one(name: str) -> None:
    program = load(name)
    with torch.no_grad():
        logits = program.model(program.prompts).logits[:, -1, program.output_ids]
    assert torch.equal(logits, program.outputs)


def test_programs_do_what_they_are_for() -> None:
    reverse, shares = load("reverse"), load("xproportion")
    assert torch.equal(reverse.outputs.argmax(-1), reverse.prompts[:, 1])
    counted = (shares.prompts == shares.token_ids["x"]).float().sum(1) / (shares.prompts.shape[1] - 1)
    torch.testing.assert_close(shares.outputs[:, 0], counted)


def test_self_check_passes(models: dict[str, tuple[Program, object]]) -> None:
    for case in CASES.values():
        program, model = models[case.program]
        assert eap_plugin.check(model, batch(case, program)).ok


@pytest.mark.parametrize("method", METHODS)
def test_scores_tell_the_circuit(
    method: str, models: dict[str, tuple[Program, object]], record_property: Callable[[str, str], None]
) -> None:
    algorithm, options = METHODS[method]
    reached = {}
    for name, case in CASES.items():
        program, model = models[case.program]
        scores = eap_plugin.prune_scores(model, [batch(case, program)], algorithm=algorithm, **options)
        reached[name] = auroc(scores, program.circuits[case.circuit])
        record_property(f"AUROC {name}", f"{reached[name]:.3f}")
    expected = {name: NOT_ALL.get(method, {}).get(name, 1.0) for name in CASES}
    assert {name: area == 1 for name, area in reached.items()} == {name: area == 1 for name, area in expected.items()}
    assert reached == pytest.approx(expected, abs=0.02)


def auroc(scores: PruneScores, circuit: list[str]) -> float:
    """Compute the probability that a circuit edge has a larger absolute score than another edge; ties count half."""
    inside = torch.zeros_like(scores.is_edge)
    for edge in circuit:
        inside[scores.graph.edge(edge)] = True
    sizes = scores.matrix.abs()
    sizes = torch.where(sizes < NEGLIGIBLE * sizes.max(), 0, sizes)
    within, without = sizes[inside], sizes[scores.is_edge & ~inside]
    return float(_wins(within[:, None], without).mean())


def _wins(first: Tensor, second: Tensor) -> Tensor:
    return (first > second).double() + 0.5 * (first == second)
