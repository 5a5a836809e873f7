"""The examples run, and come to a circuit that is as faithful as they ask for."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

import eap_plugin

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_find_circuit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["find_circuit.py", "--prompts", "16", "--into", str(tmp_path)])
    runpy.run_path(str(EXAMPLES / "find_circuit.py"), run_name="__main__")
    circuit = eap_plugin.Circuit.load(tmp_path / "circuit.json")
    assert circuit.metadata["found"]["faithfulness"] >= 0.9
    assert f"{circuit.n_edges} of 262 edges" in capsys.readouterr().out
    assert eap_plugin.Evaluation.load(tmp_path / "evaluation.json").faithfulness > 0.8


def test_the_notebook_in_jupyter() -> None:
    notebook = nbformat.read(EXAMPLES / "find_circuit.ipynb", as_version=4)
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    displayed = [output["data"] for output in shown if output.output_type == "execute_result"]
    kinds = [kind for data in displayed for kind in data if kind != "text/plain"]
    assert kinds == ["image/png", "image/png", "text/html", "image/png", "image/png"]
    assert displayed[2]["text/html"].startswith("<p>Circuit: ") and "<iframe sandbox=" in displayed[2]["text/html"]
    printed = "".join(output["text"] for output in shown if output.get("name") == "stdout")
    faithfulness = re.search(r"without it: (\S+)", printed)
    assert faithfulness is not None and float(faithfulness[1]) < 0.2
    assert "random         CPR" in printed
    assert len(nbformat.writes(notebook)) < 1_500_000
