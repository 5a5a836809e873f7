"""Scores given to and taken from NumPy, pandas, AutoCircuit's layout, and by TransformerLens' hook names."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import eap_plugin
from eap_plugin.model.graph import Graph, HookPoint
from eap_plugin.results.prune_scores import PruneScores

GRAPHS = {
    "plain": Graph(2, 4, 4),
    "grouped": Graph(2, 4, 2),
    "parallel": Graph(2, 2, 2, parallel=True),
    "attention only": Graph(2, 2, 2, has_mlp=False),
    "summed": Graph(2, 2, 2, summed_qkv=True),
}
on_each_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def scores(graph: Graph, *positions: int) -> PruneScores:
    """Make scores that differ at every edge and position."""
    shape = (*positions, len(graph.sources), len(graph.readers))
    matrix = torch.arange(1.0, 1 + torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
    return PruneScores(graph, matrix * PruneScores(graph, matrix).is_edge)


def fails(says: str, error: type[Exception] = eap_plugin.UsageError) -> Any:
    return pytest.raises(error, match=says)


@on_each_graph
@pytest.mark.parametrize("positions", [(), (3,)])
@pytest.mark.parametrize("kind", [torch.Tensor.clone, torch.Tensor.numpy])
def test_from_dict(graph: Graph, positions: tuple[int, ...], kind: Callable[[torch.Tensor], Any]) -> None:
    want = scores(graph, *positions)
    found = PruneScores.from_dict(graph, {module: kind(part) for module, part in reversed(list(want.items()))})
    assert found == want
    assert found.matrix.dtype == torch.float64


def test_from_dict_refuses() -> None:
    graph = GRAPHS["grouped"]
    good = dict(scores(graph))
    ungrouped = scores(replace(graph, n_kv_heads=4))
    with fails(r"blocks.0.hook_k_input must be \[2, 1\] for this graph, got \[4, 1\]; .* n_kv_heads = n_heads"):
        PruneScores.from_dict(graph, ungrouped)
    with fails("scores of blocks.1.hook_mlp_in are missing"):
        PruneScores.from_dict(graph, {k: v for k, v in good.items() if k != "blocks.1.hook_mlp_in"})
    with fails("unknown reader module 'blocks.2.hook_q_input'; did you mean"):
        PruneScores.from_dict(graph, good | {"blocks.2.hook_q_input": torch.zeros(4, 1)})
    with fails(r"scores into the logits must be \[sources\] or \[pos, sources\]"):
        PruneScores.from_dict(graph, good | {"blocks.1.hook_resid_post": torch.zeros(())})
    with fails("blocks.0.hook_q_input must be"):
        PruneScores.from_dict(graph, dict(scores(graph, 3)) | {"blocks.0.hook_q_input": torch.zeros(4, 1)})


@on_each_graph
def test_pandas_has_every_edge_once(graph: Graph) -> None:
    frame = scores(graph).to_pandas()
    assert len(frame) == graph.n_edges
    assert frame.edge.is_unique
    for row in frame.itertuples():
        assert row.edge == f"{row.source}->{row.reader}"
        assert row.score == float(scores(graph).edge(row.edge))
        assert graph.hook_name(row.source) == HookPoint(row.source_hook, _none(row.source_head))
        assert graph.hook_name(row.reader, reader=True) == HookPoint(row.reader_hook, _none(row.reader_head))
        part = scores(graph)[row.reader_hook]
        part = part if _none(row.reader_head) is None else part[row.reader_head]
        assert row.score == float(part[graph.rows[row.source]])


def test_pandas_by_position() -> None:
    found = scores(GRAPHS["grouped"], 3)
    frame = found.to_pandas(tokens=["When", " Mary", " and"])
    assert len(frame) == 3 * found.n_edges
    for row in frame.itertuples():
        assert row.score == float(found.edge(row.edge)[row.position])
        assert row.token == ["When", " Mary", " and"][row.position]
    total = frame.groupby("edge").score.sum()
    assert all(total[edge.name] == edge.score for edge in found.sum_positions().top(1000))
    assert "token" not in found.to_pandas().columns
    assert "position" not in found.at(0).to_pandas().columns
    with fails("tokens must have one entry per position; got 2 tokens, and scores of 3 positions"):
        found.to_pandas(tokens=["a", "b"])
    with fails("got 1 tokens, and scores of no separate positions; score with positions=True"):
        found.at(0).to_pandas(tokens=["a"])


@pytest.mark.parametrize("positions", [False, True])
def test_pandas_has_standard_errors_of_grouped_scores(positions: bool) -> None:
    model = eap_plugin.load_model("ioi-llama")
    found = eap_plugin.prune_scores(
        model, eap_plugin.load_task("ioi", model, n_prompts=6), groups=3, positions=positions
    )
    frame = found.to_pandas()
    errors = found.stderr[..., found.is_edge].flatten()
    assert torch.equal(torch.tensor(frame.stderr.to_numpy()), errors)
    assert errors.max() > 0
    assert "stderr" not in scores(GRAPHS["plain"]).to_pandas().columns


def test_without_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with fails("needs pandas, which is not installed; install it with: pip install pandas", eap_plugin.EapPluginError):
        scores(GRAPHS["plain"]).to_pandas()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_numpy_is_a_copy(dtype: torch.dtype) -> None:
    found = scores(GRAPHS["plain"], 2)
    found = PruneScores(found.graph, found.matrix.to(dtype))
    array = found.to_numpy()
    assert isinstance(array, np.ndarray)
    assert array.shape == (2, 11, 27)
    assert (array == found.matrix.double().numpy()).all()
    array[:] = 0
    assert bool(found.matrix.any())


def test_positions() -> None:
    found = scores(GRAPHS["plain"], 3)
    assert torch.equal(found.at(1).matrix, found.matrix[1])
    assert found.at(-1) == found.at(2)
    assert not found.at(1).has_positions
    assert found.at(1).metadata["derived"] == ["at position 1"]
    with fails("there is no position 3: the scores have 3 positions"):
        found.at(3)
    with fails("there is no position 0: the scores have no separate positions; score with positions=True"):
        found.at(0).at(0)


def test_between_hook_points() -> None:
    found = scores(GRAPHS["grouped"])
    block = found.between("blocks.0.attn.hook_result", "blocks.1.hook_k_input")
    assert block.shape == (4, 2)
    assert float(block[3, 1]) == float(found.edge("a0.h3->a1.h1<k>"))
    assert float(found.between("blocks.0.hook_mlp_out", "blocks.1.hook_resid_post")) == float(found.edge("m0->logits"))
    assert float(found.between("blocks.0.hook_resid_pre", "blocks.0.hook_mlp_in")) == float(found.edge("input->m0"))
    assert not found.between("blocks.1.attn.hook_result", "blocks.0.hook_q_input").any()
    assert scores(GRAPHS["grouped"], 5).between("blocks.0.hook_mlp_out", "blocks.1.hook_q_input").shape == (5, 1, 4)
    with fails("unknown writers' hook 'blocks.0.hook_attn_out'"):
        found.between("blocks.0.hook_attn_out", "blocks.1.hook_q_input")
    with fails("unknown readers' hook 'blocks.1.attn.hook_q'"):
        found.between("blocks.0.attn.hook_result", "blocks.1.attn.hook_q")


def test_hook_names() -> None:
    graph = GRAPHS["grouped"]
    assert graph.hook_name("input") == HookPoint("blocks.0.hook_resid_pre")
    assert graph.hook_name("a1.h3") == HookPoint("blocks.1.attn.hook_result", 3)
    assert graph.hook_name("m1") == HookPoint("blocks.1.hook_mlp_out")
    assert graph.hook_name("m1", reader=True) == HookPoint("blocks.1.hook_mlp_in")
    assert graph.hook_name("a1.h1<k>") == HookPoint("blocks.1.hook_k_input", 1)
    assert graph.hook_name("logits") == HookPoint("blocks.1.hook_resid_post")
    assert GRAPHS["summed"].hook_name("a1.h1", reader=True) == HookPoint("blocks.1.hook_attn_in", 1)
    with fails("unknown source 'a9.h0'"):
        graph.hook_name("a9.h0")
    with fails("unknown reader 'a1.h0'"):
        graph.hook_name("a1.h0", reader=True)


def _none(value: Any) -> int | None:
    return None if str(value) in ("nan", "<NA>") else int(value)
