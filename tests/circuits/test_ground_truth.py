"""Scores against known circuits: areas by their definitions, and by MIB's own code on recorded models."""

from __future__ import annotations

from math import ceil
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eap_plugin
from eap_plugin import Circuit, NodeScores, PruneScores, UsageError
from eap_plugin.circuits.comparison.ground_truth import Found, found, mib_auroc, mib_sizes, recovery
from eap_plugin.model.graph import Graph
from tests.circuits.test_comparison import entries, rounded, top
from tests.results.test_scores import graphs, random_scores
from tests.support import golden_circuits as golden
from tests.tracr.cases import CASES
from tests.tracr.programs import load

GRAPH = Graph(2, 2, 1)


@given(graphs, st.integers(0, 99), st.floats(0.05, 0.9))
def test_areas_are_those_of_the_definitions(graph: Graph, seed: int, share: float) -> None:
    scores = rounded(graph, seed)
    sizes = {edge: abs(score) for edge, score in entries(scores).items()}
    drawn = torch.rand(len(sizes), generator=torch.Generator().manual_seed(seed))
    true = {edge for edge, x in zip(sizes, drawn.tolist(), strict=True) if x < share} or {next(iter(sizes))}
    false = set(sizes) - true
    if not false:
        return
    mask = torch.zeros_like(scores.is_edge)
    for edge in true:
        mask[graph.edge(edge)] = True
    result = recovery(scores, mask, "scores", ks=[1, len(sizes)])
    wins = [(sizes[t] > sizes[f]) + (sizes[t] == sizes[f]) / 2 for t in true for f in false]
    assert result.auroc == pytest.approx(sum(wins) / len(wins))
    area, recall = 0.0, 0.0
    for threshold in sorted(set(sizes.values()), reverse=True):
        taken = {edge for edge in sizes if sizes[edge] >= threshold}
        area += (len(taken & true) / len(true) - recall) * len(taken & true) / len(taken)
        recall = len(taken & true) / len(true)
    assert result.average_precision == pytest.approx(area)
    first = top(sizes, 1)
    assert result.at[0] == pytest.approx(
        (1, len(first & true), len(first & true) / len(true), len(first & false) / len(false))
    )
    assert result.at[1] == pytest.approx((len(sizes), len(true) / len(sizes), 1, 1))
    assert (result.n, result.n_true) == (len(sizes), len(true))


@pytest.mark.parametrize("reference", ["raw", "pruned"])
@pytest.mark.parametrize("model", golden.MODELS)
def test_circuits_are_compared_as_mib_does(model: str, reference: str) -> None:
    recorded = golden.recorded(model, "roc.json")
    is_edge = PruneScores(golden.graph(model), golden.scores(model).matrix).is_edge
    truth = golden.recorded(model, "roc_reference.safetensors")[f"reference_{reference}/in_graph"].bool() & is_edge
    compared = 0
    for key, expected in recorded.items():
        if key.startswith(f"compare_graphs/{reference}/"):
            method, how, n = key.split("/")[2:]
            chosen = golden.mask(model, f"{method}/{how}/prune/{n}")
            point = found(chosen[is_edge], truth[is_edge])
            assert point.precision == pytest.approx(expected["precision"], abs=1e-12)
            assert point.recall == pytest.approx(expected["recall"], abs=1e-12)
            assert point.false_positive_rate == pytest.approx(expected["FP_rate"], abs=1e-12)
            compared += 1
    assert compared >= 6


@pytest.mark.parametrize("reference", ["raw", "pruned"])
@pytest.mark.parametrize("model", golden.MODELS)
def test_the_area_is_that_of_mib(model: str, reference: str) -> None:
    expected = golden.recorded(model, "roc.json")[reference]
    columns = (expected[name] for name in ("edges_after_prune", "precision", "recall", "FPR"))
    assert mib_auroc([Found(*row) for row in zip(*columns, strict=True)]) == pytest.approx(expected["auroc"], abs=1e-12)
    assert mib_sizes(golden.graph(model).n_edges) == [ceil(size) for size in expected["edges_requested"]]
    truth = golden.recorded(model, "roc_reference.safetensors")[f"reference_{reference}/in_graph"].bool()
    known = Circuit(golden.graph(model), truth & golden.scores(model).is_edge)
    result = eap_plugin.compare_with_truth(golden.scores(model), known)
    assert result.mib_auroc == pytest.approx(expected["auroc"], abs=1e-12)


def test_a_compiled_program(tmp_path: Path) -> None:
    """Scores that are 1 on the circuit of a compiled program, and less elsewhere, recover it wholly."""
    program = load("reverse")
    edges = program.circuits[CASES["reverse"].circuit]
    graph = Graph(4, 1, 1)
    scores = PruneScores(graph, random_scores(graph).matrix.clamp(-0.9, 0.9))
    for edge in edges:
        scores.matrix[graph.edge(edge)] = -1.0
    text = tmp_path / "edges.txt"
    text.write_text("# known\n\n" + "\n".join(edges) + "\n")
    mask = torch.zeros_like(scores.is_edge)
    for edge in edges:
        mask[graph.edge(edge)] = True
    circuit = tmp_path / "circuit.json"
    Circuit(graph, mask).save(circuit)
    for truth in (edges, text, str(circuit), Circuit(graph, mask)):
        result = eap_plugin.compare_with_truth(scores, truth)
        assert result.auroc == result.average_precision == 1 and result.n_true == len(edges)
        at = next(at for at in result.at if at.size == len(edges))
        assert at == (len(edges), 1, 1, 0)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    scores, circuit = random_scores(GRAPH), Circuit(Graph(1, 1, 1), random_scores(Graph(1, 1, 1)).is_edge)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
    everything = [GRAPH.edge_name(row, column) for row, column in scores.is_edge.nonzero().tolist()]
    for subject, truth, said in (
        (scores, [], "a known circuit of 0 of 36 edges tells nothing about scores"),
        (scores, everything, "a known circuit of 36 of 36 edges tells nothing about scores"),
        (scores, ["a0.h0->m7"], "unknown reader 'm7'"),
        (scores, circuit, "the known circuit is of another graph"),
        (scores, tmp_path / "none.txt", "there is no file"),
        (scores, tmp_path / "binary.txt", "is not a text file; give a circuit, or a text with an edge in each line"),
        (NodeScores(GRAPH, torch.zeros(7)), ["m0->logits"], "so it needs scores of edges .* got scores of nodes"),
        (Circuit(GRAPH, scores.is_edge), ["m0->logits"], "so it needs scores of edges .* got a circuit"),
    ):
        with pytest.raises(UsageError, match=said):
            eap_plugin.compare_with_truth(subject, truth)  # type: ignore[arg-type]
