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
from eap_plugin.results.prune_scores import PruneScores
from tests.support import golden_circuits as golden

GRAPHS = st.builds(
    lambda layers, groups, group, parallel, has_mlp: Graph(layers, groups * group, groups, parallel, has_mlp),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.booleans(), st.booleans(),
)  # fmt: skip


@pytest.mark.parametrize("model", golden.MODELS)
def test_top_is_eap_igs_topn(model: str) -> None:
    scores = golden.scores(model)
    for key in golden.keys(model, "topn"):
        _, how, prune, size = key.split("/")
        circuit = eap_plugin.select(scores, edges=int(size), signed=how == "signed", prune=prune == "prune")
        assert torch.equal(circuit.edges, golden.mask(model, key)), key
        nodes = golden.mask(model, key, "nodes_in_graph")
        assert [name in circuit.nodes for name in scores.graph.sources] == nodes.tolist(), key


@given(GRAPHS, st.integers(0, 2**31), st.floats(0, 1))
def test_only_edges_on_a_path_stay(graph: Graph, seed: int, share: float) -> None:
    """Compared with a search of paths that follows names of nodes, forwards and backwards."""
    chosen = torch.rand(len(graph.sources), len(graph.readers), generator=torch.Generator().manual_seed(seed)) < share
    edges = chosen & edge_mask(graph)
    circuit = Circuit(graph, keep_connected(graph, edges))
    pairs = [name.split("->") for name in Circuit(graph, edges).edge_names]
    reached, leading = {"input"}, set[str]()
    for _ in pairs:
        reached |= {writer for source, reader in pairs if source in reached for writer in computed_from(graph, reader)}
        leading |= {source for source, reader in pairs if leads_on(graph, reader, leading)}
    kept = [
        f"{source}->{reader}"
        for source, reader in pairs
        if source in reached and leads_on(graph, reader, leading & reached)
    ]
    assert circuit.edge_names == kept


def computed_from(graph: Graph, reader: str) -> list[str]:
    """Return the writers whose output follows from a reader, by name."""
    if "<" not in reader:
        return [reader]
    head, slot = reader.rstrip(">").split("<")
    layer, number = head.split(".h")
    group = graph.n_heads // graph.n_kv_heads
    return [f"{layer}.h{h}" for h in range(graph.n_heads) if (h if slot == "q" else h // group) == int(number)]


def leads_on(graph: Graph, reader: str, leading: set[str]) -> bool:
    """Return whether a reader is the logits, or a writer computed from it leads to them."""
    return reader == "logits" or bool(set(computed_from(graph, reader)) & leading)


@given(GRAPHS, st.integers(0, 2**31), st.floats(0, 1))
def test_sizes_are_exact_and_nested(graph: Graph, seed: int, fraction: float) -> None:
    """Also with many ties, which the graph's order breaks."""
    matrix = torch.randint(
        -2, 3, (len(graph.sources), len(graph.readers)), generator=torch.Generator().manual_seed(seed)
    )
    scores = PruneScores(graph, (matrix * edge_mask(graph)).double())
    size = int(fraction * graph.n_edges)
    circuit = eap_plugin.select(scores, fraction=fraction, prune=False)
    assert circuit.n_edges == size
    if size:
        smaller = eap_plugin.select(scores, edges=size - 1, prune=False)
        assert bool((smaller.edges <= circuit.edges).all())
    assert circuit.ungrouped().n_edges == circuit.n_edges_ungrouped
    assert torch.equal(circuit.ungrouped().edges, circuit.edges[:, ungroup_columns(graph)])
