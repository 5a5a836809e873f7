"""``eap circuit``, ``eap selections`` and ``eap show`` of a circuit."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner, Result

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.cli import main
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.results.loading import read_scores, scores_of

GRAPH = Graph(2, 3, 1)
SHAPES = {"edge": (len(GRAPH.sources), len(GRAPH.readers)), "node": (9,), "neuron": (9, 4)}


def eap(*args: str) -> Result:
    return CliRunner().invoke(main, args, prog_name="eap", env={"COLUMNS": "80"})


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for level, shape in SHAPES.items():
        matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        matrix = matrix * edge_mask(GRAPH) if level == "edge" else matrix
        scores_of(level, GRAPH, matrix, {"algorithm": "eap", "metric_unit": "logits"}).save(f"{level}.safetensors")
    return tmp_path


@pytest.mark.parametrize(("level", "size"), [("edge", "30"), ("node", "7"), ("neuron", "20")])
def test_circuit_is_printed_saved_and_shown(files, level, size):
    shown = eap("circuit", f"{level}.safetensors", f"--{level}s", size, "--top", "4", "-o", "circuit.json")
    assert shown.exit_code == 0, shown.output
    circuit = Circuit.load(files / "circuit.json")
    assert circuit == eap_plugin.select(read_scores(f"{level}.safetensors"), **{f"{level}s": int(size)})
    about = circuit.metadata["selection"]
    assert f"selected  {size} {level}s" in shown.stdout
    removed = about["selected"] - about["kept"]
    assert f"pruned    {f'{removed} that are on no path' if removed else 'nothing'}" in shown.stdout
    assert f"{circuit.n_edges} of {GRAPH.n_edges} edges" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80
    listed = shown.stdout.partition("Edge" if level == "edge" else "Node ")[2].splitlines()[1:5]
    names = [edge.name for edge in circuit.top(4)] if level == "edge" else circuit.nodes[:4]
    assert [line.split()[0] for line in listed] == names
    again = eap("show", "circuit.json", "--top", "4")
    assert again.exit_code == 0
    assert listed == again.stdout.splitlines()[-4:]
    document = json.loads(eap("show", "circuit.json", "--json", "--top", "4").stdout)
    assert document["n_edges"] == circuit.n_edges
    assert document["nodes"] == circuit.nodes
    assert [edge["name"] for edge in document["edges"]] == (names if level == "edge" else [])
    assert document["metadata"]["selection"] == about


def test_what_a_method_reports_is_printed(files):
    shown = eap("circuit", "edge.safetensors", "--fraction", "0.1", "--method", "ilp", "-O", "gap=0.001", "--signed")
    assert "method    ilp, by score, time_limit 60.0, gap 0.001" in shown.stdout
    assert "pruned    nothing" in shown.stdout
    assert "optimal   yes" in shown.stdout
    assert "Not saved; to keep the circuit, add -o circuit.json" in shown.stdout
    document = json.loads(eap("circuit", "edge.safetensors", "--edges", "9", "--method", "ilp", "--json").stdout)
    assert document["metadata"]["selection"]["notes"] == {"gap": 0.0, "optimal": True}
    assert document["output"] is None


def test_a_circuit_of_which_nothing_is_connected_is_told(files):
    shown = eap("circuit", "edge.safetensors", "--edges", "2")
    assert "selected  2 edges" in shown.stdout
    assert "circuit   0 of 51 edges (0.0%)" in shown.stdout
    assert "Nothing selected is connected; select more, or use --method greedy or ilp" in shown.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "give the size of the circuit in one way: as a number of edges, a fraction or a threshold; got none"),
        (["--edges", "3", "--fraction", "0.1"], "got a number and a fraction"),
        (["--nodes", "3"], "these are scores of edges; give the size as edges="),
        (["--edges", "52"], "a circuit of this graph has between 0 and 51 edges, got 52"),
        (["--edges", "3", "--method", "topp"], "unknown selection method 'topp'; did you mean 'top'?"),
        (["--edges", "3", "-O", "prune=no"], "unknown top option 'prune'"),
        (["--threshold", "1", "--method", "greedy"], "give greedy a size"),
        (["--edges", "3", "--faithfulness", "0.9"], "--faithfulness finds the size; leave out --edges"),
        (["--edges", "3", "--same-prompts"], "--same-prompts can only be used with --faithfulness"),
        (["--faithfulness", "1", "--same-prompts", "--held-out", "ioi"], "give --same-prompts or --held-out, not both"),
        (["--faithfulness", "0.9"], "the file does not record its model; give it with --model"),
        (["--edges", "3", "-o", "nowhere/circuit.json"], "nowhere does not exist; make it first"),
    ],
)
def test_mistakes_are_one_line(files, args, message):
    shown = eap("circuit", "edge.safetensors", *args)
    assert shown.exit_code == 2
    assert len(shown.stderr.splitlines()) == 1 and message in shown.stderr


def test_a_faithful_circuit_is_found_on_the_model_and_task_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = eap_plugin.load_model("ioi-gpt2", dtype="float64")
    task = eap_plugin.load_task("ioi", model, n_prompts=8, seed=4)
    scores = eap_plugin.prune_scores(model, task)
    scores.save("scores.safetensors")
    shown = eap("circuit", "scores.safetensors", "--faithfulness", "0.9", "-o", "circuit.json", "--top", "2")
    assert shown.exit_code == 0, shown.output
    assert max(map(len, shown.stdout.splitlines())) <= 80
    circuit = Circuit.load("circuit.json")
    found = circuit.metadata["found"]
    kept = eap_plugin.evaluate(model, eap_plugin.held_out_task(task, model), circuit).faithfulness
    assert found["faithfulness"] == pytest.approx(kept) and kept >= 0.9
    assert f"{found['faithfulness']:.3f} (95 %: {found['interval'][0]:.3f} to " in shown.stdout
    assert "on 8 held-out prompt pairs" in shown.stdout
    on_scored = eap_plugin.evaluate(model, task, circuit).faithfulness
    assert f"when scored   {on_scored:.3f} on the prompt pairs that were scored" in shown.stdout
    assert f"{len(found['measured'])} sizes measured" in shown.stdout
    assert "faithfulness" in eap("show", "circuit.json").stdout
    scores.metadata["clean_metric"] += 1
    scores.save("scores.safetensors")
    other = eap("circuit", "scores.safetensors", "--faithfulness", "0.9", "--same-prompts")
    assert other.exit_code == 2
    assert "this is not the same model, or it is run differently; to go on, add --anyway" in other.stderr


SEARCH = {
    "wanted": 0.9,
    "faithfulness": 0.95,
    "interval": [0.9, 1.0],
    "held_out": True,
    "n_prompts": 8,
    "measured": [[3, 0.95]],
    "n_larger_short": 1,
}


@pytest.mark.parametrize(("name", "value"), [(None, None), *((name, wrong) for name in SEARCH for wrong in ("x", [1]))])
def test_the_record_of_a_search_is_shown_unless_it_is_none(tmp_path, name, value):
    """A file from elsewhere may have anything there."""
    found = SEARCH if name is None else SEARCH | {name: value}
    circuit = Circuit(GRAPH, edge_mask(GRAPH), metadata={"found": found})
    circuit.save(tmp_path / "circuit.json")
    shown = eap("show", str(tmp_path / "circuit.json"))
    assert shown.exit_code == 0
    complete = "of the larger sizes measured, 1 fall short" in shown.stdout
    assert complete == (name in (None, "held_out") or (name, value) == ("measured", [1]))


def test_a_selection_is_documented_with_its_options():
    document = json.loads(eap("selections", "positive-first", "--json").stdout)
    assert document["levels"] == ["edge", "node", "neuron"]
    text = eap("selections", "positive-first").stdout
    assert "selects    edges, nodes, neurons" in text
    assert [option["name"] for option in document["options"]] == ["ratio"]
    assert "\nratio " in text
