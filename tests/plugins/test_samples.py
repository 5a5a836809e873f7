"""The sample distributions: built, installed next to this package, found by name, run, uninstalled, gone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from eap_plugin.shipped import SHIPPED
from tests.plugins.environment import SAMPLES, Environment

SAVE_TOY = """
import sys, torch
from toy_lm.model import ToyLM, ToyLMConfig
torch.manual_seed(0)
ToyLM(ToyLMConfig(n_vocab=68)).save(sys.argv[1])
"""


@pytest.fixture(scope="module")
def installed(environment: Environment) -> Iterator[Environment]:
    """Install the samples in the environment; afterwards uninstall them and check that they are gone."""
    environment.install(*SAMPLES.values())
    yield environment
    environment.uninstall(*SAMPLES)
    assert environment.json("plugins")["plugins"] == []
    run = environment.eap("algorithms", "eap-abs")
    assert run.returncode == 2
    assert "unknown algorithm 'eap-abs'" in run.stderr
    assert environment.evaluate(NAMES) == [False, False]


NAMES = """
import json, eap_plugin
print(json.dumps(["eap-abs" in eap_plugin.algorithms(), "toy-lm" in eap_plugin.backends()]))
"""


@pytest.fixture(scope="module")
def toy_folder(installed: Environment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a model of the sample backend, with the tokenizer of a shipped model."""
    folder = tmp_path_factory.mktemp("toy")
    assert installed.python("-c", SAVE_TOY, str(folder)).returncode == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(SHIPPED["ioi-gpt2"]) / name, folder)
    return folder


def test_they_are_found_by_name(installed: Environment) -> None:
    assert {p["name"] for p in installed.json("plugins")["plugins"]} == {"eap-abs:eap-abs", "toy-lm:toy-lm"}
    assert installed.json("algorithms", "eap-abs")["plugin"] == "eap-abs"
    assert installed.evaluate(NAMES) == [True, True]


def test_the_samples_run_from_the_command_line(installed: Environment, toy_folder: Path) -> None:
    """An algorithm from one plugin on a model from another, on prompts with the model's own tokenizer."""
    document = installed.json(
        "run", str(toy_folder), "--backend", "toy-lm", "--algorithm", "eap-abs", "-O", "least=0.001",
        "--task", "ioi", "--prompts", "8", "--force",
    )  # fmt: skip
    assert document["metadata"]["algorithm"] == "eap-abs"
    assert document["metadata"]["provenance"] == {"backend": "toy-lm"}
    assert document["edges"][0]["score"] > 0


@pytest.mark.parametrize("name", SAMPLES)
def test_they_pass_their_own_tests(installed: Environment, name: str) -> None:
    assert "passed" in installed.pytest(SAMPLES[name] / "tests")


def test_an_algorithm_is_checked_by_name(installed: Environment) -> None:
    assert "passed" in installed.pytest(installed.folder, "--eap-algorithm", "eap-abs")
