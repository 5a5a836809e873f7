"""``PruneScores`` and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

graphs = st.builds(
    lambda layers, kv, group, parallel, mlp: Graph(layers, kv * group, kv, parallel and mlp, mlp),
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans(),
)  # fmt: skip


def random_scores(graph: Graph, positions: int | None = None, seed: int = 0, **metadata: Any) -> PruneScores:
    shape = (len(graph.sources), len(graph.readers))
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn((positions, *shape) if positions else shape, generator=generator)
    return PruneScores(graph, matrix * PruneScores(graph, matrix).is_edge, metadata)


@given(graphs)
def test_edges_are_counted_one_way_or_the_other(graph: Graph) -> None:
    scores = random_scores(graph)
    assert scores.n_edges == int(scores.is_edge.sum()) == len(scores.top(10**6))
    assert scores.n_edges == sum(module.numel() for module in scores.values())


@given(graphs)
def test_every_way_to_an_edge_gives_the_same_number(graph: Graph) -> None:
    scores = random_scores(graph)
    for edge in scores.top(50):
        row, column = graph.edge(edge.name)
        reader = graph.readers[column]
        module = scores[graph.module_name(reader)]
        by_module = module[row] if module.ndim == 1 else module[reader.head, row]
        assert edge.score == float(scores.edge(edge.name)) == float(scores.matrix[row, column]) == float(by_module)
        assert edge.name == f"{edge.source}->{edge.reader}" == graph.edge_name(row, column)


@given(graphs)
def test_no_source_comes_after_its_reader(graph: Graph) -> None:
    for edge in random_scores(graph).top(10**6):
        if edge.source != "input" and edge.reader != "logits":
            source, reader = int(edge.source[1:].split(".")[0]), int(edge.reader[1:].split(".")[0])
            inside = edge.source.startswith("a") and edge.reader.startswith("m") and not graph.parallel
            assert source < reader or (inside and source == reader)


@given(graphs, st.integers(1, 3))
def test_top_is_sorted_by_importance(graph: Graph, positions: int) -> None:
    scores = random_scores(graph, positions)
    values = [abs(edge.score) for edge in scores.top(20)]
    assert values == sorted(values, reverse=True)
    assert values[0] == float(scores.matrix.abs().max())
    best = scores.top(1)[0]
    assert float(scores.edge(best.name)[best.position]) == best.score


@given(graphs)
def test_summing_qkv_keeps_the_sum_of_every_group(graph: Graph) -> None:
    scores = random_scores(graph)
    summed = scores.sum_qkv()
    for layer in range(graph.n_layers):
        slots = [scores[f"blocks.{layer}.hook_{x}_input"] for x in "qkv"]
        grouped = slots[0].unflatten(0, (graph.n_kv_heads, -1)).sum(1) + slots[1] + slots[2]
        torch.testing.assert_close(summed[f"blocks.{layer}.hook_attn_in"], grouped)
    assert summed.sum_qkv() is summed
    assert bool((summed.matrix[~summed.is_edge] == 0).all())


def test_arithmetic() -> None:
    graph = Graph(2, 2, 1)
    a, b = random_scores(graph, seed=1), random_scores(graph, seed=2)
    torch.testing.assert_close((a + b - b).matrix, a.matrix)
    torch.testing.assert_close((2 * a / 4).matrix, a.matrix / 2)
    assert -(-a) == a  # noqa: B002
    assert a != b
    assert abs(a) == a.abs() == abs(-a)
    assert bool(((a > 0) == (-a < 0)).all())
    assert int((a > -100).sum()) == a.n_edges
    assert a.allclose(a * (1 + 1e-7))
    assert not a.allclose(a * 1.1)
    with pytest.raises(UsageError, match="different graphs"):
        _ = a + random_scores(Graph(3, 2, 1))


def test_derived_scores_say_so() -> None:
    scores = random_scores(Graph(2, 2, 1), sign="positive: hurts")
    assert "derived" not in scores.metadata
    assert (-abs(scores)).metadata["derived"] == ["absolute value", "negative"]


def test_names_that_do_not_exist() -> None:
    scores = random_scores(Graph(2, 2, 2))
    with pytest.raises(UsageError, match="unknown source 'a0.h9'; did you mean 'a0.h"):
        scores.edge("a0.h9->logits")
    with pytest.raises(UsageError, match="there is no edge 'm1->m0': m1 does not come before m0"):
        scores.edge("m1->m0")
    with pytest.raises(UsageError, match="written source->reader"):
        scores.edge("m1")
    with pytest.raises(KeyError, match="did you mean 'blocks.0.hook_q_input'"):
        scores["blocks.0.hook_q_inputs"]
    with pytest.raises(UsageError, match=r"sources=7, readers=15.*got \[3, 4\]"):
        PruneScores(Graph(2, 2, 2), torch.zeros(3, 4))


@given(graphs, st.sampled_from([None, 1, 3]))
def test_a_file_gives_back_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph, pos: int | None
) -> None:
    path = tmp_path_factory.mktemp("scores") / "s.safetensors"
    scores = random_scores(graph, pos, algorithm="eap", options={"positions": bool(pos)}, clean_metric=1.5)
    scores.save(path)
    again = PruneScores.load(path, graph=graph)
    assert again == scores
    assert again.metadata == scores.metadata
    assert again.matrix.dtype == scores.matrix.dtype


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "s.safetensors"
    random_scores(Graph(2, 2, 2)).save(path)
    return path


def test_another_graph(saved: Path) -> None:
    with pytest.raises(UsageError, match=r"has scores of another graph: Graph\(n_layers=2.*expected Graph\(n_layers=3"):
        PruneScores.load(saved, graph=Graph(3, 2, 2))


def test_a_newer_schema(tmp_path: Path) -> None:
    path = tmp_path / "new.safetensors"
    header = {"schema": 99, "graph": {"colour": "blue"}, "metadata": {}}
    save_file({"matrix": torch.zeros(1, 1)}, path, {"eap_plugin": json.dumps(header)})
    with pytest.raises(UsageError, match="has schema 99, this version reads up to 1; upgrade eap-plugin"):
        PruneScores.load(path)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_a_truncated_file(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(UsageError, match="is not a complete score file") as caught:
        PruneScores.load(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (None, "was not written by eap-plugin"),
        ("{", "is not a complete score file"),
        ("[]", "is not a complete score file"),
        ('{"schema": "1"}', "is not a complete score file"),
        ('{"schema": 1, "graph": {"n_layers": 2}, "metadata": {}}', "is not a complete score file"),
        (
            '{"schema": 1, "graph": {"n_layers": 1, "n_heads": 1, "n_kv_heads": 1}, "metadata": {}}',
            "3 writers, but there are only 1 scores",
        ),
    ],
)
def test_a_safetensors_file_with_a_strange_header(tmp_path: Path, header: str | None, message: str) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"matrix": torch.zeros(1, 1)}, path, None if header is None else {"eap_plugin": header})
    with pytest.raises(UsageError, match=message) as caught:
        PruneScores.load(path)
    assert "\n" not in str(caught.value)


def test_no_file_or_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        PruneScores.load(tmp_path / "none.safetensors")
    with pytest.raises(EapPluginError, match=f"{tmp_path}"):
        PruneScores.load(tmp_path)


def test_nothing_half_written(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure while writing leaves the old file and no other."""
    before = saved.read_bytes()
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EapPluginError, match="cannot write .*: No space left on device"):
        random_scores(Graph(3, 2, 2)).save(saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the folder .* does not exist; make it first"):
        random_scores(Graph(2, 2, 2)).save(tmp_path / "no" / "s.safetensors")
