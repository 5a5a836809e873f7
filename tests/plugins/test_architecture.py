"""A model whose architecture adapter comes from a third package, through TransformerLens' own entry points."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from eap_plugin.shipped import SHIPPED
from tests.plugins.environment import ROOT, Environment

SAMPLE = ROOT / "examples" / "architecture-adapter"
SAVE = """
import sys
from nocturne import NocturneConfig, NocturneForCausalLM
NocturneForCausalLM(NocturneConfig(vocab_size=68)).save_pretrained(sys.argv[1])
"""


@pytest.fixture(scope="module")
def installed(environment: Environment) -> Iterator[Environment]:
    """Install the architecture's package, which is not a plugin of eap-plugin, in the environment."""
    environment.install(SAMPLE)
    assert environment.json("plugins")["plugins"] == []
    yield environment
    environment.uninstall("nocturne")


def test_it_passes_the_checks_of_both_backends(installed: Environment) -> None:
    assert "passed" in installed.pytest(SAMPLE / "tests")


@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
def test_a_model_of_it_is_run_from_the_command_line(installed: Environment, tmp_path: Path, backend: str) -> None:
    """Nobody has imported its package."""
    assert installed.python("-c", SAVE, str(tmp_path)).returncode == 0
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(SHIPPED["ioi-gpt2"]) / name, tmp_path)
    document = installed.json("run", str(tmp_path), "--backend", backend, "--task", "ioi", "-n", "4", "--force")
    assert document["metadata"]["provenance"]["backend"] == backend
    assert document["edges"][0]["score"] != 0
