"""Every selection method against brute force, on random graphs with many equal scores."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.selection.base import Selected, Selection, scored
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from tests.support.circuit_search import GRAPHS, all_edges, computed_from, greedy, on_a_path

SMALL = (Graph(1, 1, 1), Graph(1, 2, 1), Graph(1, 3, 1, has_mlp=False), Graph(2, 1, 1, has_mlp=False))
SEEDS, SHARES = st.integers(0, 2**31), st.floats(0, 1)
METHODS = ("top", "greedy", "positive-first", "bootstrap")


def scores_for(graph: Graph, seed: int, values: int = 3) -> PruneScores:
    """Return scores of three groups that are whole numbers, hence with many ties."""
    shape = 3, len(graph.sources), len(graph.readers)
    groups = torch.randint(-values, values + 1, shape, generator=torch.Generator().manual_seed(seed))
    groups = (groups * edge_mask(graph)).double()
    return PruneScores(graph, groups.sum(0), groups=groups)


@pytest.mark.parametrize("method", METHODS)
@given(GRAPHS, SEEDS, SHARES, st.booleans())
def test_sizes_are_exact_and_nested(method: str, graph: Graph, seed: int, share: float, signed: bool) -> None:
    scores = scores_for(graph, seed)
    circuit = eap_plugin.select(scores, fraction=share, method=method, signed=signed, prune=False)
    size = circuit.n_edges
    assert size == int(share * graph.n_edges) == circuit.metadata["selection"]["kept"]
    if size:
        smaller = eap_plugin.select(scores, edges=size - 1, method=method, signed=signed, prune=False)
        assert bool((smaller.edges <= circuit.edges).all())


@pytest.mark.parametrize("method", METHODS)
@given(GRAPHS, SEEDS, SHARES, st.booleans())
def test_the_order_is_that_in_which_edges_are_selected(
    method: str, graph: Graph, seed: int, share: float, signed: bool
) -> None:
    scores, provider = scores_for(graph, seed), eap_plugin.selections()[method]
    order = provider.order(scores, signed, provider.options())
    assert order is not None and len(order) == graph.n_edges
    mask = torch.zeros(scores.matrix.numel(), dtype=torch.bool)
    mask[order[: int(share * graph.n_edges)]] = True
    wanted = eap_plugin.select(scores, fraction=share, method=method, signed=signed, prune=False)
    assert torch.equal(mask.view(scores.matrix.shape), wanted.edges)


def test_these_are_the_methods_whose_selections_are_nested() -> None:
    methods = eap_plugin.selections()
    assert {name for name in methods if methods[name].nested} == set(METHODS)


@pytest.mark.parametrize("method", [*METHODS, "ilp"])
@settings(deadline=None, max_examples=50)
@given(GRAPHS, SEEDS, SHARES)
def test_nothing_dangles(method: str, graph: Graph, seed: int, share: float) -> None:
    circuit = eap_plugin.select(scores_for(graph, seed), fraction=share, method=method)
    assert circuit.edge_names == on_a_path(graph, circuit.edge_names)
    about = circuit.metadata["selection"]
    assert about["kept"] == circuit.n_edges <= about["selected"] <= about["size"]
    if method == "ilp":
        assert about["kept"] == about["selected"]


@given(GRAPHS, SEEDS, st.integers(0, 12), st.booleans())
def test_greedy_searches_back_from_the_logits(graph: Graph, seed: int, size: int, signed: bool) -> None:
    scores, size = scores_for(graph, seed), min(size, graph.n_edges)
    ranked = {edge: float(scores.edge(edge)) for edge in all_edges(graph)}
    if not signed:
        ranked = {edge: abs(score) for edge, score in ranked.items()}
    circuit = eap_plugin.select(scores, edges=size, method="greedy", signed=signed, prune=False)
    assert set(circuit.edge_names) == greedy(graph, ranked, size)


@given(GRAPHS, SEEDS, SHARES, SHARES)
def test_positive_first_takes_a_share_of_positive_scores(graph: Graph, seed: int, share: float, ratio: float) -> None:
    scores = scores_for(graph, seed)
    circuit = eap_plugin.select(scores, fraction=share, method="positive-first", ratio=ratio, prune=False)
    size = int(share * graph.n_edges)
    names = all_edges(graph)
    positive = [edge for edge in names if scores.edge(edge) > 0]
    first = sorted(positive, key=lambda edge: -float(scores.edge(edge)))[: int(size * ratio)]
    rest = sorted(set(names) - set(first), key=lambda edge: (-abs(float(scores.edge(edge))), names.index(edge)))
    assert set(circuit.edge_names) == {*first, *rest[: size - len(first)]}


@given(GRAPHS, SEEDS, SHARES, st.booleans())
def test_bootstrap_takes_established_scores_first(graph: Graph, seed: int, share: float, signed: bool) -> None:
    scores = scores_for(graph, seed)
    circuit = eap_plugin.select(scores, fraction=share, method="bootstrap", alpha=0.3, signed=signed, prune=False)
    names, sure = all_edges(graph), scores.significant(0.3)
    ranked = {edge: float(scores.edge(edge)) if signed else abs(float(scores.edge(edge))) for edge in names}
    order = sorted(names, key=lambda edge: (not sure[graph.edge(edge)], -ranked[edge], names.index(edge)))
    taken = order[: int(share * graph.n_edges)]
    assert set(circuit.edge_names) == set(taken)
    established = sum(bool(sure[graph.edge(edge)]) for edge in taken)
    assert circuit.metadata["selection"]["notes"] == {"established": established}


def test_bootstrap_needs_groups_of_prompts() -> None:
    scores = PruneScores(SMALL[0], scores_for(SMALL[0], 0).matrix)
    with pytest.raises(UsageError, match="eap run --groups 16"):
        eap_plugin.select(scores, edges=1, method="bootstrap")


@cache
def connected_subsets(graph: Graph) -> Tensor:
    """Return all sets of edges between nodes that have an edge in and an edge out, [sets, edges]."""
    names = [edge.split("->") for edge in all_edges(graph)]
    sets = torch.cartesian_prod(*[torch.tensor([False, True])] * len(names))
    nowhere = torch.zeros(len(sets), dtype=torch.bool)
    has_in, has_out = ({writer: nowhere.clone() for writer in graph.sources} for _ in "io")
    has_in["input"] = ~nowhere
    for edge, (source, reader) in enumerate(names):
        has_out[source] |= sets[:, edge]
        for writer in computed_from(graph, reader):
            if writer != "logits":
                has_in[writer] |= sets[:, edge]
    node = {writer: has_in[writer] & has_out[writer] for writer in graph.sources} | {"logits": ~nowhere}
    connected = ~nowhere
    for edge, (source, reader) in enumerate(names):
        ends = torch.stack([node[writer] for writer in computed_from(graph, reader)]).any(0)
        connected &= ~sets[:, edge] | (node[source] & ends)
    return sets[connected]


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(SMALL), SEEDS, st.integers(0, 12), st.booleans(), st.sampled_from([1, 3, 1000]))
def test_ilp_finds_the_largest_total(graph: Graph, seed: int, size: int, signed: bool, values: int) -> None:
    scores, size = scores_for(graph, seed, values), min(size, graph.n_edges)
    ranked = (scores.matrix if signed else scores.matrix.abs())[edge_mask(graph)]
    subsets = connected_subsets(graph)
    subsets = subsets[subsets.sum(1) <= size]
    totals = subsets.double() @ ranked
    circuit = eap_plugin.select(scores, edges=size, method="ilp", signed=signed)
    found = circuit.edges[edge_mask(graph)]
    assert float(found.double() @ ranked) == float(totals.max())
    assert int(found.sum()) <= int(subsets[totals == totals.max()].sum(1).max())
    assert circuit.metadata["selection"]["notes"] == {"gap": 0.0, "optimal": True}


def test_ilp_tells_a_gap_and_gives_up_in_time() -> None:
    graph = Graph(4, 4, 2)
    matrix = torch.randn(len(graph.sources), len(graph.readers), generator=torch.Generator().manual_seed(0))
    scores = PruneScores(graph, matrix * edge_mask(graph))
    best = eap_plugin.select(scores, edges=12, method="ilp")
    loose = eap_plugin.select(scores, edges=12, method="ilp", gap=0.5)
    ratio = total(loose) / total(best)
    notes = loose.metadata["selection"]["notes"]
    assert 1 - notes["gap"] - 1e-6 <= ratio <= 1 + 1e-6
    assert notes["optimal"] == (notes["gap"] < 1e-6)
    with pytest.raises(EapPluginError, match="ilp found no circuit within 0 seconds; raise -O time_limit"):
        eap_plugin.select(scores, edges=12, method="ilp", time_limit=0)


def total(circuit: Circuit) -> float:
    assert circuit.scores is not None
    return float(circuit.scores[circuit.edges].abs().sum())


def test_a_signed_selection_puts_negative_scores_last() -> None:
    """They are not left out, as in EAP-IG, unless the method optimizes the total."""
    graph = Graph(1, 1, 1)
    scores = PruneScores(graph, -edge_mask(graph).double())
    assert eap_plugin.select(scores, edges=5, signed=True, prune=False).n_edges == 5
    assert eap_plugin.select(scores, edges=5, signed=True, method="ilp").n_edges == 0


def test_levels_that_a_method_does_not_have_are_refused() -> None:
    scores = NodeScores(Graph(1, 1, 1), torch.ones(3))
    with pytest.raises(UsageError, match="greedy selects edges, but these are scores of nodes; choose another method"):
        eap_plugin.select(scores, nodes=1, method="greedy")
    assert eap_plugin.select(scores, nodes=2, method="positive-first").metadata["selection"]["kept"] == 2


@pytest.mark.parametrize("wrong", ["shape", "not an edge", "too many"])
def test_a_plugins_selection_is_checked(wrong: str) -> None:
    class Faulty(Selection[None]):
        name = summary = reference = "faulty"
        options = type(eap_plugin.selections()["top"].options())

        def select(self, scores, size, signed, options):
            mask = scored(scores)
            return Selected({"shape": mask[0], "not an edge": ~mask, "too many": mask}[wrong])

    with pytest.raises(EapPluginError, match="selection method 'faulty' .*; fix the method"):
        eap_plugin.select(scores_for(SMALL[0], 0), edges=1, method=Faulty())
