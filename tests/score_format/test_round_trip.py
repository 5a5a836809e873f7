"""Whatever is written in a format is read back: every score, every edge."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eap_plugin
from eap_plugin.api.files import load
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.eap_ig.graph_file import PER_PROMPT
from eap_plugin.score_format.grouping import split_groups, sum_groups
from tests.score_format.made import DTYPES, graphs, made

SUFFIXES = {
    "safetensors": ".safetensors",
    "circuit": ".json",
    "neuronpedia": ".json",
    "csv": ".csv",
    "parquet": ".parquet",
    "graphml": ".graphml",
    "dot": ".dot",
}
KEPT = [
    *(("safetensors", kind) for kind in ("edge", "node", "neuron")),
    *(("circuit", kind) for kind in ("circuit", "unscored", "neurons")),
    *((name, kind) for name in ("csv", "parquet") for kind in ("edge", "node", "neuron", "circuit", "unscored")),
    *((name, kind) for name in ("graphml", "dot", "neuronpedia") for kind in ("edge", "circuit")),
    ("graphml", "unscored"),
    ("dot", "unscored"),
]
CASES = st.tuples(graphs, st.integers(0, 2**31), st.booleans(), st.sampled_from(DTYPES))


@pytest.mark.parametrize(("name", "kind"), KEPT)
@settings(max_examples=15)
@given(case=CASES)
def test_formats_with_a_header_keep_everything(
    name: str, kind: str, case: tuple[Graph, int, bool, torch.dtype], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Also the data type, the provenance, and which format it is; graphs have no positions and say so."""
    graph, seed, positions, dtype = case
    positions = positions and kind in ("edge", "node", "neuron")
    results = made(graph, kind, seed, positions, dtype)
    path = tmp_path_factory.mktemp("files") / f"x{SUFFIXES[name]}"
    lost = eap_plugin.score_formats()[name].losses(results)
    eap_plugin.score_formats()[name].write(results, path)
    if positions and name in ("graphml", "dot"):
        assert lost == ["positions: scores are summed over them"]
        assert isinstance(results, PruneScores)
        results = results.sum_positions()
    else:
        assert lost == []
    found = load(path, graph=graph).main
    assert found == results
    assert found.metadata == results.metadata
    if isinstance(results, Circuit):
        assert isinstance(found, Circuit)
        assert not results.n_edges or (found.scores is None) == (results.scores is None)
        if found.scores is not None and results.scores is not None:
            assert torch.equal(found.scores[found.edges].double(), results.scores[found.edges].double())
    else:
        assert not isinstance(found, Circuit)
        assert found.matrix.dtype == dtype


@pytest.mark.parametrize("name", ["eap-ig-json", "eap-ig-pt"])
@settings(max_examples=30)
@given(case=CASES, kind=st.sampled_from(["edge", "node", "neuron", "circuit", "unscored", "neurons"]))
def test_eap_ig_keeps_scores_per_prompt(
    name: str, kind: str, case: tuple[Graph, int, bool, torch.dtype], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Read with the model's graph, k and v scores add up again, to the last bit."""
    graph, seed, positions, dtype = case
    results = made(replace(graph, has_mlp=True, summed_qkv=False), kind, seed, positions, dtype)
    path = tmp_path_factory.mktemp("files") / ("x.json" if name == "eap-ig-json" else "x.pt")
    if name == "eap-ig-json" and kind in ("neuron", "neurons"):
        with pytest.raises(UsageError, match="write the format eap-ig-pt"):
            eap_plugin.score_formats()[name].write(results, path)
        return
    eap_plugin.score_formats()[name].write(results, path)
    contents = load(path, graph=results.graph)
    if isinstance(results, Circuit):
        if not results.n_edges:
            return
        assert contents.circuit == results
        found = contents.circuit.scores
        expected = None if results.scores is None else _wide(results.scores) / 8
    else:
        assert contents.scores is not None
        assert contents.scores.metadata["scale"] == PER_PROMPT
        found, expected = contents.scores.matrix, _wide(results.sum_positions().matrix) / 8
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert torch.equal(found.double(), expected.double())
        again = path.with_stem("again")
        eap_plugin.score_formats()[name].write(contents.main, again)  # not divided twice
        assert torch.equal(_matrix(load(again, graph=results.graph).main), _matrix(contents.main))


@settings(max_examples=20)
@given(case=CASES)
def test_autocircuit_keeps_scores(
    case: tuple[Graph, int, bool, torch.dtype], tmp_path_factory: pytest.TempPathFactory
) -> None:
    graph, seed, positions, dtype = case
    scores = made(graph, "edge", seed, positions, dtype)
    path = tmp_path_factory.mktemp("files") / "x.pt"
    eap_plugin.score_formats()["autocircuit"].write(scores, path)
    assert load(path, graph=graph).main == scores
    assert isinstance(scores, PruneScores)
    if graph.n_heads > 1 or not graph.parallel:  # else parallel or not cannot be told
        alone = load(path).main
        assert isinstance(alone, PruneScores)
        assert alone.graph == replace(graph, n_kv_heads=graph.n_heads)
        assert torch.equal(sum_groups(graph, alone.matrix), scores.matrix)


@settings(max_examples=25)
@given(graphs, st.integers(0, 2**31), st.sampled_from(DTYPES))
def test_shares_of_a_group_are_equal_and_add_up(graph: Graph, seed: int, dtype: torch.dtype) -> None:
    scores = made(graph, "edge", seed, dtype=dtype)
    assert isinstance(scores, PruneScores)
    shares = split_groups(graph, scores.matrix)
    assert torch.equal(sum_groups(graph, shares), scores.matrix)
    group = graph.n_heads // graph.n_kv_heads
    for column, reader in enumerate(PruneScores(replace(graph, n_kv_heads=graph.n_heads), shares).graph.readers):
        times = group if reader.slot in ("k", "v", "qkv") else 1
        one = scores.matrix[:, graph.columns[graph.reader_name(reader._replace(head=reader.head // times))]]
        rounding = 20 * torch.finfo(dtype).eps
        assert torch.allclose(shares[:, column].double() * times, one.double(), rtol=rounding, atol=0)


def test_a_circuit_that_splits_a_group_needs_its_own_graph(tmp_path: Path) -> None:
    graph = Graph(1, 2, 1)
    circuit = made(replace(graph, n_kv_heads=2), "unscored")
    assert isinstance(circuit, Circuit)
    circuit.edges[:] = False
    circuit.edges[circuit.graph.edge("input->a0.h1<k>")] = True
    eap_plugin.score_formats()["eap-ig-pt"].write(circuit, tmp_path / "x.pt")
    assert eap_plugin.load_circuit(tmp_path / "x.pt") == circuit
    with pytest.raises(UsageError, match=r"x.pt: the circuit has input->a0.h0<k> for a part of the query heads"):
        eap_plugin.load_circuit(tmp_path / "x.pt", graph=graph)


def _wide(matrix: torch.Tensor) -> torch.Tensor:
    return matrix if matrix.dtype == torch.float64 else matrix.float()


def _matrix(results: object) -> torch.Tensor:
    found = results.scores if isinstance(results, Circuit) else getattr(results, "matrix", None)
    assert isinstance(found, torch.Tensor)
    return found.double()
