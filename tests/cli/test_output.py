"""What reaches a terminal is visible text, whatever files say and whatever the encoding."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from eap_plugin.cli import main
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202etxt.\x9b31m"


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    graph = Graph(1, 2, 2)
    matrix = torch.rand(len(graph.sources), len(graph.readers))
    PruneScores(graph, matrix, {"algorithm": HOSTILE, "task": "±→é"}).save(tmp_path / "scores.safetensors")
    return tmp_path / "scores.safetensors"


def test_control_characters_in_a_file_are_shown_as_codes(scores: Path) -> None:
    shown = CliRunner().invoke(main, ["show", str(scores)])
    assert shown.exit_code == 0
    assert "\\x1b]0;owned\\x07\\x1b[2J\\u202etxt.\\x9b31m" in shown.output
    assert not set("\x1b\x07\u202e\x9b") & set(shown.output)


def test_control_characters_in_an_error_are_shown_as_codes() -> None:
    shown = CliRunner().invoke(main, ["show", "no\x1b[31mfile"])
    assert shown.exit_code == 2
    assert "there is no file no\\x1b[31mfile" in shown.output


def test_an_encoding_without_the_characters_is_no_error(scores: Path) -> None:
    command = [sys.executable, "-m", "eap_plugin", "show", str(scores)]
    shown = subprocess.run(command, env={"PYTHONIOENCODING": "ascii"}, capture_output=True, check=True)
    assert rb"\xb1\u2192\xe9" in shown.stdout
