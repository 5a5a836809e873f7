"""The commands for files: show, export, score-formats and check-mib."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import eap_plugin
from eap_plugin.cli import main
from eap_plugin.model.graph import Graph
from tests.score_format.made import made
from tests.score_format.test_round_trip import SUFFIXES
from tests.support.golden_circuits import FOLDER

GOLDEN = FOLDER / "tiny_gpt2" / "eval" / "files"


def eap(*args: object) -> Any:
    return CliRunner().invoke(main, [str(arg) for arg in args], prog_name="eap", env={"COLUMNS": "80"})


@pytest.mark.parametrize("name", [*SUFFIXES, "eap-ig-json", "eap-ig-pt", "autocircuit"])
def test_show_reads_what_export_wrote(name: str, tmp_path: Path) -> None:
    kind = "circuit" if name == "circuit" else "edge"
    results = made(Graph(2, 2, 2), kind)
    source = tmp_path / ("from.json" if kind == "circuit" else "from.safetensors")
    results.save(source)
    target = tmp_path / f"to{SUFFIXES.get(name, '.json' if name == 'eap-ig-json' else '.pt')}"
    done = eap("export", source, "--format", name, "-o", target)
    assert (done.exit_code, done.stdout) == (0, f"Saved to {target}\n")
    lossless = name in ("safetensors", "circuit", "csv", "parquet", "graphml", "dot", "neuronpedia")
    assert done.stderr == ("" if lossless else f"The format {name} does not keep the provenance.\n")
    shown = eap("show", target, "--top", 3)
    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "\x1b" not in shown.stdout
    document = json.loads(eap("show", target, "--top", 3, "--json").stdout)
    assert document["n_edges"] == (results.graph.n_edges if kind == "edge" else results.n_edges)
    assert len(document["edges"]) == 3


def test_show_has_the_scores_and_the_circuit_of_eap_ig() -> None:
    text = eap("show", GOLDEN / "edges.pt", "--top", 1).stdout
    assert "scores   of 110 edges" in text
    assert "circuit  60 of 110 edges (54.5%), 11 of 11 nodes" in text
    document = json.loads(eap("show", GOLDEN / "neurons.pt", "--json").stdout)
    assert (document["n_neurons"], document["circuit"]["n_edges"]) == (352, 50)


def test_export_says_what_is_lost_and_what_is_missing(tmp_path: Path) -> None:
    graph, path = Graph(1, 2, 1), tmp_path / "x.csv"
    scores = made(graph, "edge", positions=True)
    eap_plugin.PruneScores(graph, scores.matrix).save(tmp_path / "bare.safetensors")
    command = ("export", tmp_path / "bare.safetensors", "--format", "eap-ig-pt", "-o", tmp_path / "x.pt")
    missing = eap(*command)
    assert (missing.exit_code, missing.stdout) == (2, "")
    assert missing.stderr.splitlines()[-1].startswith("Error: EAP-IG's files state the width of the residual stream")
    done = eap(*command, "--d-model", 8)
    assert done.exit_code == 0
    assert [line.removeprefix("The format eap-ig-pt does not keep ")[:9] for line in done.stderr.splitlines()] == [
        "the prove", "positions", "key/value", "the scale",
    ]  # fmt: skip
    with pytest.warns(UserWarning, match="the format dot does not keep positions"):
        eap_plugin.export(scores, tmp_path / "x.dot", format="dot")
    wrong = eap("export", tmp_path / "bare.safetensors", "--format", "circuit", "-o", path)
    assert "the format circuit holds a circuit, not scores of edges" in wrong.stderr
    assert "did you mean 'csv'" in eap("export", tmp_path / "bare.safetensors", "--format", "cvs", "-o", path).stderr


def test_export_of_the_circuit_in_a_file_with_scores(tmp_path: Path) -> None:
    eap("export", GOLDEN / "edges.json", "--circuit", "--format", "circuit", "-o", tmp_path / "c.json")
    assert eap_plugin.Circuit.load(tmp_path / "c.json") == eap_plugin.load_circuit(GOLDEN / "edges.json")
    with pytest.raises(eap_plugin.UsageError, match="has a circuit without the scores"):
        eap_plugin.load_scores(tmp_path / "c.json")
    made(Graph(1, 1, 1), "node").save(tmp_path / "s.safetensors")
    with pytest.raises(eap_plugin.UsageError, match="has scores, not a circuit"):
        eap_plugin.load_circuit(tmp_path / "s.safetensors")


def test_text_from_files_cannot_move_the_cursor(tmp_path: Path) -> None:
    scores = made(Graph(1, 1, 1), "node")
    scores.metadata["task\x1b[2J"] = "\x1b]0;title\x07 \u202e"
    try:
        scores.save(tmp_path / "x.safetensors")
    finally:
        del scores.metadata["task\x1b[2J"]
    shown = eap("show", tmp_path / "x.safetensors").stdout
    assert not set("\x1b\x07\u202e") & set(shown)
    assert r"\x1b]0;title\x07" in shown


def test_score_formats_fit_a_terminal_and_agree_with_json() -> None:
    shown = eap("score-formats").stdout
    document = json.loads(eap("score-formats", "--json").stdout)
    assert max(map(len, shown.splitlines())) <= 80
    assert [entry["name"] for entry in document] == list(eap_plugin.score_formats())
    assert all(f"{entry['name']} " in shown for entry in document)


def test_check_mib(tmp_path: Path) -> None:
    made(Graph(2, 2, 2), "edge").save(tmp_path / "s.safetensors")
    folder = tmp_path / "submission"
    folder.mkdir()
    for name in ("ioi_interpbench", "mcqa_gpt2"):
        assert eap("export", tmp_path / "s.safetensors", "--format", "mib", "-o", folder / name).exit_code == 0
    bad = eap("check-mib", folder)
    assert bad.exit_code == 1
    assert bad.stdout.count("\n") == 1
    assert "gpt2 has 12 layers of 12 heads, the file says 2 of 2" in bad.stdout
    assert json.loads(eap("check-mib", folder, "--json").stdout)["ok"] is False
    (folder / "mcqa_gpt2").rename(folder / "mcqa_interpbench")
    assert eap("check-mib", folder).stdout == f"{folder}: at least 2 models are needed, found 1\n"
    assert eap("check-mib", tmp_path / "none").exit_code == 2
