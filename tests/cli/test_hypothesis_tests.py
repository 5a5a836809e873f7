"""``eap evaluate --tests``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import eap_plugin
from eap_plugin.circuits.hypothesis_tests.settings import TESTS, HypothesisTestSettings
from eap_plugin.cli import main


def eap(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="eap", env={"COLUMNS": "80"})


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Save scores and a circuit of them, and let the default settings be ones that run few circuits."""
    monkeypatch.chdir(tmp_path)
    model = eap_plugin.load_model("ioi-llama")
    scores = eap_plugin.prune_scores(model, eap_plugin.load_task("ioi", model, n_prompts=4))
    scores.save("scores.safetensors")
    eap_plugin.select(scores, edges=20).save("circuit.json")
    monkeypatch.setattr(
        "eap_plugin.api.evaluation.HypothesisTestSettings",
        lambda seed: HypothesisTestSettings(random_circuits=5, quantile=0.5, max_edges=3, permutations=99, seed=seed),
    )


def test_tests_are_printed_and_saved(files):
    shown = eap("evaluate", "circuit.json", "--tests", "-o", "eval.json")
    assert shown.exit_code == 0, shown.output
    tests = json.loads(Path("eval.json").read_text())["tests"]
    assert [test["name"] for test in tests] == list(TESTS)
    for test in tests:
        assert test["sentence"] in shown.stdout
    assert json.loads(eap("evaluate", "circuit.json", "--tests", "--json").stdout)["tests"] == tests
    assert json.loads(eap("evaluate", "circuit.json", "--json").stdout)["tests"] == []
    refused = eap("evaluate", "scores.safetensors", "--tests")
    assert refused.exit_code == 2
    assert "hypothesis tests are made on one circuit" in refused.stderr
