"""The examples run, and come to a circuit that is as faithful as they ask for."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import eap_plugin

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_find_circuit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["find_circuit.py", "--prompts", "16", "--into", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "find_circuit.py"), run_name="__main__")
    circuit = eap_plugin.Circuit.load(tmp_path / "circuit.json")
    assert circuit.metadata["found"]["faithfulness"] >= 0.9
    assert f"{circuit.n_edges} of 262 edges" in capsys.readouterr().out
    assert eap_plugin.Evaluation.load(tmp_path / "evaluation.json").faithfulness > 0.8


def test_the_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((EXAMPLES / "find_circuit.ipynb").read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["alone"].faithfulness > 0.8 > 0.2 > names["without"].faithfulness
    assert "random         CPR" in capsys.readouterr().out
