"""Hypothesis tests through ``evaluate``: on the scores that evaluations of the same circuits give."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.circuits.hypothesis_tests.run_tests import run_tests
from eap_plugin.circuits.hypothesis_tests.settings import TESTS, HypothesisTestSettings
from eap_plugin.errors import UsageError

SETTINGS = HypothesisTestSettings(random_circuits=5, quantile=0.5, max_edges=3, permutations=99)


@pytest.fixture(scope="module")
def case() -> tuple[Any, Any, Circuit]:
    model = eap_plugin.load_model("ioi-llama")
    task = eap_plugin.load_task("ioi", model, n_prompts=4)
    circuit = eap_plugin.select(eap_plugin.prune_scores(model, task), edges=20)
    return model, task, circuit


@pytest.fixture(scope="module")
def evaluated(case: tuple[Any, Any, Circuit]) -> tuple[Evaluation, list[tuple[int, int]]]:
    told: list[tuple[int, int]] = []
    model, task, circuit = case
    result = eap_plugin.evaluate(
        model,
        task,
        circuit,
        tests=SETTINGS,
        resamples=10,
        share_prefix=False,
        progress=lambda *step: told.append(step),
    )
    return result, told


def test_tests_are_made_on_the_scores_of_evaluated_circuits(case, evaluated):
    model, task, circuit = case

    def run(masks: list[torch.Tensor]) -> torch.Tensor:
        circuits = [Circuit(circuit.graph, mask) for mask in masks]
        points = eap_plugin.evaluate(model, task, circuits, resamples=1, share_prefix=False).points
        return torch.stack([point.metric for point in points])

    result, told = evaluated
    assert [test.name for test in result.tests] == list(TESTS)
    assert result.tests == run_tests(circuit, run, SETTINGS)
    total = 1 + SETTINGS.n_runs(circuit)
    assert told == [(4 * step, 4 * total) for step in range(1, total + 1)]


def test_without_tests_there_are_none_and_numbers_are_the_same(case, evaluated):
    model, task, circuit = case
    plain = eap_plugin.evaluate(model, task, circuit, resamples=10, share_prefix=False)
    assert plain.tests == ()
    assert plain.to_dict() == replace(evaluated[0], tests=(), metadata=plain.metadata).to_dict()


def test_tests_are_in_the_file_and_in_the_table(evaluated, tmp_path):
    result, _ = evaluated
    result.save(tmp_path / "eval.json")
    assert Evaluation.load(tmp_path / "eval.json").tests == result.tests
    for test in result.tests:
        assert test.sentence in result.table()
    older = json.loads((tmp_path / "eval.json").read_text())
    del older["tests"]
    (tmp_path / "older.json").write_text(json.dumps(older))
    assert Evaluation.load(tmp_path / "older.json").tests == ()


def test_seed_of_the_evaluation_is_that_of_the_tests(case, monkeypatch):
    model, task, circuit = case
    seen = []
    monkeypatch.setattr("eap_plugin.api.evaluation.run_tests", lambda c, r, settings: seen.append(settings) or ())
    eap_plugin.evaluate(model, task, circuit, tests=True, seed=7, resamples=1)
    assert seen == [HypothesisTestSettings(seed=7)]


def test_a_simulated_server_gives_the_same(case):
    here = eap_plugin.load_model("ioi-llama", backend="nnsight")
    few = replace(SETTINGS, tests=("equivalence", "independence"))
    _, task, circuit = case
    local, remote = (
        eap_plugin.evaluate(here, task, circuit, tests=few, resamples=1, remote=where).tests
        for where in (False, "local")
    )
    assert local == remote


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"what": "scores"}, "made on one circuit, such as `select` returns"),
        ({"what": "several"}, "made on one circuit"),
        ({"complement": True}, "run a circuit and its complement; leave complement out"),
        ({"metric": lambda logits, batch: logits.mean()}, "need one number per prompt, but .* gives only a mean"),
    ],
)
def test_what_cannot_be_tested_is_a_one_line_error(case, given, message):
    model, task, circuit = case
    graph = circuit.graph
    scores = eap_plugin.PruneScores(graph, circuit.edges.double()) if given.get("what") == "scores" else None
    what = {"scores": scores, "several": [circuit, circuit]}.get(given.pop("what", ""), circuit)
    with pytest.raises(UsageError, match=message):
        eap_plugin.evaluate(model, task, what, tests=True, **given)
