"""Files that the peers' own writers made are read, number by number."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import eap_plugin
from eap_plugin.api.files import load
from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.eap_ig.json_file import EapIgJson
from eap_plugin.score_format.eap_ig.pt_file import EapIgPt
from tests.support import golden_cases, golden_circuits
from tests.support.golden_circuits import FOLDER, MODELS


def _file(model: str, name: str) -> Path:
    return FOLDER / model / "eval" / "files" / name


@pytest.mark.parametrize("model", MODELS)
def test_edges_of_eap_ig(model: str) -> None:
    """The JSON and the ``.pt`` file have the same scores and the circuit of the 60 strongest edges."""
    scores = golden_circuits.scores(model)
    for name in ("edges.json", "edges.pt"):
        contents = load(_file(model, name))
        assert isinstance(contents.scores, PruneScores)
        assert contents.circuit is not None
        assert contents.scores.graph == golden_circuits.graph(model)
        assert torch.equal(contents.scores.matrix.float(), scores.matrix.float())
        assert torch.equal(contents.circuit.edges, eap_plugin.select(scores, edges=60, prune=False).pruned().edges)
        assert contents.circuit.n_edges == 60 or model == "tiny_parallel"


@pytest.mark.parametrize("model", MODELS)
def test_nodes_and_neurons_of_eap_ig(model: str) -> None:
    recorded = golden_circuits.recorded(model, "node_scores.safetensors")
    for level, name in (("node", "nodes.pt"), ("neuron", "neurons.pt")):
        contents = load(_file(model, name))
        assert isinstance(contents.scores, NodeScores)
        assert contents.scores.level == level
        assert torch.equal(contents.scores.matrix, recorded[f"{level}/eap_fixed"].float())
        assert contents.circuit is not None
        if level == "neuron":
            assert contents.circuit.neurons is not None
            assert int(contents.circuit.neurons.sum()) == 50


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", ["edges.json", "edges.pt", "nodes.pt", "neurons.pt"])
def test_files_of_eap_ig_are_written_as_they_were(model: str, name: str, tmp_path: Path) -> None:
    """The same keys in the same order, types, shapes and values; nodes of the circuit are those with edges."""
    path = _file(model, name)
    contents = load(path)
    assert contents.circuit is not None
    if path.suffix == ".json":
        EapIgJson().write(contents.circuit, tmp_path / name)
        written, theirs = (json.loads(file.read_text()) for file in (tmp_path / name, path))
        assert written == theirs
        assert list(written["nodes"]) == list(theirs["nodes"])
        return
    EapIgPt().write(contents.main if name != "edges.pt" else contents.circuit, tmp_path / name)
    ours, theirs = (torch.load(file, weights_only=True) for file in (tmp_path / name, path))
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        if isinstance(value, torch.Tensor):
            assert (ours[key].dtype, ours[key].shape) == (value.dtype, value.shape)
            if name == "edges.pt" or key in ("nodes_scores", "neurons_scores"):
                assert torch.equal(ours[key], value), key
        else:
            assert ours[key] == value


def test_scores_are_ours_over_the_number_of_prompts(tmp_path: Path) -> None:
    """EAP-IG's score of a model with grouped keys, summed over the group and times the prompts, is ours."""
    model = "tiny_llama"
    sizes = golden_cases.config(model)["config"]
    graph = Graph(sizes["n_layers"], sizes["n_heads"], sizes["n_key_value_heads"])
    theirs = load_file(FOLDER / model / "eapig" / "eap_1x8_float64.safetensors")["scores"]
    file = {
        "cfg": {"n_layers": graph.n_layers, "n_heads": graph.n_heads, "parallel_attn_mlp": False, "d_model": 32},
        "edges_scores": theirs,
        "edges_in_graph": torch.zeros(theirs.shape, dtype=torch.bool),
        "nodes_in_graph": torch.zeros(len(theirs), dtype=torch.bool),
    }
    torch.save(file, tmp_path / "x.pt")
    found = eap_plugin.load_scores(tmp_path / "x.pt", graph=graph)
    assert isinstance(found, PruneScores)
    assert found.graph == graph
    recorded = golden_cases.recorded(model, "eap_seed", "float64")
    assert golden_cases.worst_error(found * 8, recorded, graph.n_kv_heads, graph.n_heads) < 1e-9


@pytest.mark.parametrize("model", golden_cases.MODELS)
@pytest.mark.parametrize("case", ["eap_seed", "mg_seqpos", "mg_attn_in"])
def test_prune_scores_of_autocircuit(model: str, case: str, tmp_path: Path) -> None:
    recorded = golden_cases.recorded(model, case, "float64")
    torch.save(recorded, tmp_path / "x.pt")
    found = eap_plugin.load_scores(tmp_path / "x.pt")
    assert isinstance(found, PruneScores)
    sizes = golden_cases.config(model)["config"]
    assert found.graph.n_layers == sizes["n_layers"]
    assert found.graph.parallel == sizes["parallel_attn_mlp"]
    assert found.graph.has_mlp != sizes["attn_only"]
    for module, tensor in recorded.items():
        assert torch.equal(found[module], tensor)
    eap_plugin.score_formats()["autocircuit"].write(found, tmp_path / "y.pt")
    again = torch.load(tmp_path / "y.pt", weights_only=True)
    assert {name: x.dtype for name, x in again.items()} == {name: x.dtype for name, x in recorded.items()}
    assert all(torch.equal(again[name], x) for name, x in recorded.items())
