"""Graphs for other tools: networkx, Graphviz, Neuronpedia."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.neuronpedia import document_of
from tests.score_format.made import graphs, made

SCHEMA: dict[str, dict[str, Any]] = {
    "metadata": {"slug": str, "scan": str, "prompt_tokens": list, "prompt": str},
    "qParams": {},
    "nodes": {
        "node_id": str, "feature": (int, type(None)), "layer": (str, int), "ctx_idx": int,
        "feature_type": str, "jsNodeId": str, "clerp": str,
    },
    "links": {"source": str, "target": str, "weight": (int, float)},
}  # fmt: skip
"""What Neuronpedia's schema requires of a graph, and the types."""


@settings(max_examples=25)
@given(graphs, st.integers(0, 2**31))
def test_what_is_pruned_is_on_no_path_of_the_networkx_graph(graph: Graph, seed: int) -> None:
    circuit = made(graph, "unscored", seed)
    assert isinstance(circuit, Circuit)
    found = eap_plugin.to_networkx(circuit)
    after = networkx.descendants(found, "input") | {"input"} if "input" in found else set()
    before = networkx.ancestors(found, "logits") | {"logits"} if "logits" in found else set()
    named = [(name, *name.split("->")) for name in circuit.edge_names]
    assert circuit.pruned().edge_names == [name for name, start, end in named if start in after and end in before]


def test_networkx_has_scores_and_kinds() -> None:
    scores = made(Graph(2, 2, 1), "edge", positions=True)
    assert isinstance(scores, PruneScores)
    found = eap_plugin.to_networkx(scores)
    assert found["a0.h1"]["a1.h0<k>"]["score"] == float(scores.edge("a0.h1->a1.h0<k>").sum())
    assert found["a1.h0<k>"] == {"a1.h0": {}, "a1.h1": {}}
    assert found.nodes["a1.h1<q>"] == {"kind": "q", "layer": 1, "head": 1}
    assert sum("score" in data for _, _, data in found.edges(data=True)) == scores.n_edges
    assert networkx.is_directed_acyclic_graph(found)
    with pytest.raises(UsageError, match="cannot hold scores of nodes"):
        eap_plugin.to_networkx(made(Graph(1, 1, 1), "node"))  # type: ignore[arg-type]


def test_dot_is_one_statement_a_line(tmp_path: Path) -> None:
    circuit = made(Graph(1, 2, 2), "circuit")
    assert isinstance(circuit, Circuit)
    eap_plugin.score_formats()["dot"].write(circuit, tmp_path / "x.dot")
    header, *lines = (tmp_path / "x.dot").read_text().splitlines()
    assert header.startswith("// eap_plugin {")
    assert (lines[0], lines[-1]) == ("digraph {", "}")
    assert sum("score=" in line for line in lines) == circuit.n_edges
    assert all(line.startswith("  ") and line.endswith(";") for line in lines[1:-1])
    name = circuit.edge_names[0].split("->")
    assert any(line.startswith(f'  "{name[0]}" -> "{name[1]}" [score="') for line in lines)


@settings(max_examples=25)
@given(graphs, st.integers(0, 2**31), st.booleans(), st.sampled_from(["edge", "circuit", "unscored"]))
def test_neuronpedia_takes_the_graph(graph: Graph, seed: int, positions: bool, kind: str) -> None:
    results = made(graph, kind, seed, positions and kind == "edge")
    assert isinstance(results, (PruneScores, Circuit))
    document = json.loads(json.dumps(document_of(results), allow_nan=False))
    assert set(SCHEMA) <= set(document)
    for part, required in SCHEMA.items():
        for entry in document[part] if isinstance(document[part], list) else [document[part]]:
            for name, kinds in required.items():
                assert isinstance(entry[name], kinds), (part, name)
    nodes = {node["node_id"]: node for node in document["nodes"]}
    assert len(nodes) == len(document["nodes"])
    assert all({link["source"], link["target"]} <= set(nodes) for link in document["links"])
    n_tokens = len(document["metadata"]["prompt_tokens"])
    assert all(0 <= node["ctx_idx"] < n_tokens for node in nodes.values())
    for link in document["links"]:
        source, target = (nodes[link[end]] for end in ("source", "target"))
        assert target["clerp"] == link["reader"].partition("<")[0]
        assert graph.rows[source["clerp"]] < graph.rows.get(target["clerp"], len(graph.rows))


def test_neuronpedia_shows_tokens(tmp_path: Path) -> None:
    scores = made(Graph(1, 2, 2), "edge", positions=True)
    path, tokens = tmp_path / "x.json", ["<script>", " \\"]
    eap_plugin.export(scores, path, format="neuronpedia", tokens=tokens)
    metadata = json.loads(path.read_text())["metadata"]
    assert (metadata["prompt_tokens"], metadata["prompt"]) == (tokens, "<script> \\")
    found = eap_plugin.load_scores(path)
    assert isinstance(found, PruneScores)
    assert isinstance(scores, PruneScores)
    assert torch.equal(found.matrix, scores.matrix)
