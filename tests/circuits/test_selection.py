"""Selected circuits against EAP-IG's, and against the definition of a connected circuit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.pruning import keep_connected
from eap_plugin.model.edge_matrix import edge_mask, ungroup_columns
from eap_plugin.model.graph import Graph
from tests.support import golden_circuits as golden
from tests.support.circuit_search import GRAPHS, on_a_path


@pytest.mark.parametrize("model", golden.MODELS)
@pytest.mark.parametrize(("recorded", "method"), [("topn", "top"), ("greedy", "greedy")])
def test_edges_are_eap_igs(model: str, recorded: str, method: str) -> None:
    scores = golden.scores(model)
    for key in golden.keys(model, recorded):
        _, how, prune, size = key.split("/")
        circuit = eap_plugin.select(
            scores, edges=int(size), method=method, signed=how == "signed", prune=prune == "prune"
        )
        assert torch.equal(circuit.edges, golden.mask(model, key)), key
        if (method, prune) != ("greedy", "raw"):  # whose recorded nodes are those that were reached
            nodes = golden.mask(model, key, "nodes_in_graph")
            assert [name in circuit.nodes for name in scores.graph.sources] == nodes.tolist(), key


@pytest.mark.parametrize("model", golden.MODELS)
@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
def test_thresholds_are_eap_igs(model: str, level: str) -> None:
    keys = golden.keys(model, "threshold" if level == "edge" else f"{level}_real_threshold")
    assert keys
    for key in keys:
        threshold = golden.recorded(model, "selection.json")[key]["threshold"]
        scores = golden.scores(model) if level == "edge" else golden.node_scores(model, level)
        signed, prune = "/signed/" in key, not key.endswith("/raw")
        circuit = eap_plugin.select(scores, threshold=threshold, signed=signed, prune=prune)
        assert torch.equal(circuit.edges, golden.mask(model, key)), key


@pytest.mark.parametrize("model", golden.MODELS)
@pytest.mark.parametrize("level", ["node", "neuron"])
def test_nodes_and_neurons_are_eap_igs(model: str, level: str) -> None:
    scores = golden.node_scores(model, level)
    for key in golden.keys(model, f"{level}_real"):
        _, how, prune, size = key.split("/")
        circuit = eap_plugin.select(scores, **{f"{level}s": int(size)}, signed=how == "signed", prune=prune == "prune")
        assert torch.equal(circuit.edges, golden.mask(model, key)), key
        about = circuit.metadata["selection"]
        assert about["selected"] == int(size)
        if circuit.neurons is None:
            assert about["kept"] == (len(circuit.nodes) if prune == "prune" else int(size))
            continue
        kept = golden.mask(model, key, "neurons_in_graph")
        if prune == "prune":  # there, neurons of removed writers stay in the mask
            kept &= golden.mask(model, key, "nodes_in_graph")[:, None]
        assert torch.equal(circuit.neurons, kept), key
        assert about["kept"] == int(kept.sum())


@given(GRAPHS, st.integers(0, 2**31), st.floats(0, 1))
def test_only_edges_on_a_path_stay(graph: Graph, seed: int, share: float) -> None:
    """Compared with a search of paths that follows names of nodes, forwards and backwards."""
    chosen = torch.rand(len(graph.sources), len(graph.readers), generator=torch.Generator().manual_seed(seed)) < share
    edges = chosen & edge_mask(graph)
    circuit = Circuit(graph, keep_connected(graph, edges))
    assert circuit.edge_names == on_a_path(graph, Circuit(graph, edges).edge_names)


@given(GRAPHS, st.integers(0, 2**31), st.floats(0, 1))
def test_a_circuit_of_ungrouped_readers_has_the_same_edges(graph: Graph, seed: int, share: float) -> None:
    chosen = torch.rand(len(graph.sources), len(graph.readers), generator=torch.Generator().manual_seed(seed)) < share
    circuit = Circuit(graph, chosen & edge_mask(graph))
    assert circuit.ungrouped().n_edges == circuit.n_edges_ungrouped
    assert torch.equal(circuit.ungrouped().edges, circuit.edges[:, ungroup_columns(graph)])
