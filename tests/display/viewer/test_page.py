"""The document: what it holds is what it was given, in few bytes, and nothing in it is markup."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import eap_plugin
from eap_plugin.display.viewer import page
from eap_plugin.display.viewer.dataset import sizes
from eap_plugin.display.viewer.page import ASSETS, METHODS
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from tests.display.viewer.samples import GROUPED, SMALL, data_of, decoded, evaluation, scores

D3 = "912111098ea99503a6f4967361d2bbdc9dbf58cf9c678c8e27e5b02d1a07f0c1"
GPT2 = Graph(12, 12, 12)


def test_the_library_is_d3_unmodified() -> None:
    """The file ``dist/d3.min.js`` of the npm package d3 7.9.2."""
    library = ASSETS / "vendor" / "d3.min.js"
    assert hashlib.sha256(library.read_bytes()).hexdigest() == D3
    assert b"v7.9.2" in library.read_bytes()[:60]
    assert "Permission to use, copy, modify" in (ASSETS / "vendor" / "LICENSE-d3").read_text()


@pytest.mark.parametrize("graph", [SMALL, GROUPED, Graph(2, 2, 2, parallel=True), Graph(2, 3, 3, has_mlp=False)])
def test_scores_are_those_given(graph: Graph) -> None:
    given = scores(graph)
    [shown] = data_of(page(given))["datasets"]
    assert shown["n"] == graph.n_edges
    assert np.array_equal(decoded(shown["scores"], "<f4"), given.matrix[edge_mask(graph)].numpy())


def test_scores_by_position_are_those_given() -> None:
    given = scores(positions=5)
    [shown] = data_of(page(given))["datasets"]
    by_position = decoded(shown["positions"]["scores"], "<f4").reshape(5, SMALL.n_edges)
    assert np.array_equal(by_position, given.matrix[:, edge_mask(SMALL)].numpy())
    assert np.allclose(decoded(shown["scores"], "<f4"), by_position.sum(0), atol=1e-6)
    order = decoded(shown["positions"]["orders"][0]["order"], "<u2")
    strongest = given.top(30)
    names = [SMALL.edge_name(row, column) for row, column in edge_mask(SMALL).nonzero().tolist()]
    found = [(names[item % SMALL.n_edges], item // SMALL.n_edges) for item in order[:30].tolist()]
    assert found == [(edge.name, edge.position) for edge in strongest]


@pytest.mark.parametrize("method", [*(method.name for method in METHODS), "ilp"])
@pytest.mark.parametrize("signed", [False, True])
def test_selections_are_those_of_select(method: str, signed: bool) -> None:
    given = scores()
    groups = given.matrix + 0.05 * torch.randn(4, *given.matrix.shape, generator=torch.Generator().manual_seed(1))
    given = replace(given, groups=(groups * edge_mask(SMALL)) / 4)
    chosen = eap_plugin.selections()[method]
    [shown] = data_of(page(given, methods=[chosen]))["datasets"]
    assert ("stops" in shown["selections"][0]) == (method == "ilp")
    one = next(one for one in shown["selections"] if one["method"] == method and one["signed"] == signed)
    for size in sizes(SMALL.n_edges):
        if "order" in one:
            items = decoded(one["order"], "<u2")[:size]
        else:
            items = decoded(next(stop["items"] for stop in one["stops"] if stop["size"] == size), "<u2")
        mask = torch.zeros(SMALL.n_edges, dtype=torch.bool)
        mask[torch.tensor(items.astype(int))] = True
        wanted = eap_plugin.select(given, edges=size, method=method, signed=signed, prune=False)
        assert torch.equal(mask, wanted.edges[edge_mask(SMALL)])


def test_a_method_that_needs_groups_of_prompts_is_left_out_without_them() -> None:
    [shown] = data_of(page(scores()))["datasets"]
    assert {one["method"] for one in shown["selections"]} == {"top", "greedy", "positive-first"}


@pytest.mark.parametrize("known", [True, False])
def test_a_circuit_has_its_edges_strongest_first(known: bool) -> None:
    circuit = eap_plugin.select(scores(), edges=30, prune=False)
    circuit = circuit if known else replace(circuit, scores=None)
    [shown] = data_of(page(circuit))["datasets"]
    names = [SMALL.edge_name(row, column) for row, column in edge_mask(SMALL).nonzero().tolist()]
    members = [names[item] for item in decoded(shown["members"], "<u2")]
    assert members == circuit.edge_names
    order = [members[item] for item in decoded(shown["selections"][0]["order"], "<u2")]
    assert order == ([edge.name for edge in circuit.top(30)] if known else members)
    assert (shown["scores"] is not None) == known


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_scores_of_nodes(level: Any) -> None:
    matrix = torch.randn(
        len(SMALL.sources), *([8] if level == "neuron" else []), generator=torch.Generator().manual_seed(0)
    )
    [shown] = data_of(page(NodeScores(SMALL, matrix, level)))["datasets"]
    assert shown["kind"] == "node"
    expected = matrix if level == "node" else matrix.sum(-1)
    assert np.array_equal(decoded(shown["scores"], "<f4"), expected.numpy())


def test_faithfulness_is_that_of_the_evaluation() -> None:
    measured = evaluation()
    [shown] = data_of(page(scores(), measured))["evaluations"]
    assert shown["method"] == "top"
    for point, given in zip(shown["points"], measured.points, strict=True):
        assert (point["size"], point["signed"], point["faithfulness"]) == (given.size, given.signed, given.faithfulness)
        assert given.interval is not None and point["interval"] == list(given.interval)
        assert point["random"] == given.random_mean


def test_a_page_is_small() -> None:
    html = page(scores(GPT2), evaluation())
    assert len(html.encode()) < 1.5e6 + 100 * GPT2.n_edges
    assert len(page(scores()).encode()) < 0.5e6


def test_nothing_given_is_markup() -> None:
    evil = "</script><script>alert(1)</script><!--\u2028&lt;\ud800"
    html = page(scores(algorithm=evil, task={evil: [evil, float("nan")]}), title=evil, names=[evil])
    assert html.count("</script>") == 4 and "<script>alert" not in html
    html.encode()
    data = data_of(html)
    assert data["title"] == evil and data["datasets"][0]["metadata"]["task"][evil] == [evil, None]


def test_what_cannot_be_shown() -> None:
    a, b = scores(), scores(GROUPED)
    with pytest.raises(UsageError, match="one or two files of scores or circuits, got 0"):
        page()
    with pytest.raises(UsageError, match="one or two files of scores or circuits, got 3"):
        page(a, a, a)
    with pytest.raises(UsageError, match="of different graphs"):
        page(a, b)
    with pytest.raises(UsageError, match="nodes and of edges cannot be shown as a difference"):
        page(a, NodeScores(SMALL, torch.zeros(len(SMALL.sources)), "node"))
    with pytest.raises(UsageError, match="one name for each of the 1 items, got 2"):
        page(a, names=["a", "b"])


def test_files_of_all_kinds(tmp_path: Path) -> None:
    given = scores()
    given.save(tmp_path / "a.safetensors")
    eap_plugin.select(given, edges=20).save(tmp_path / "c.json")
    evaluation().save(tmp_path / "e.json")
    eap_plugin.export(given, tmp_path / "edges.csv", format="csv")
    out = tmp_path / "view.html"
    for name in ("a.safetensors", "c.json", "edges.csv"):
        html = eap_plugin.view(tmp_path / name, tmp_path / "e.json", path=out, title="x")
        assert out.read_text() == html
        data = data_of(html)
        assert [one["name"] for one in data["datasets"]] == [name]
        assert len(data["evaluations"]) == 1
    greedy = data_of(eap_plugin.view(given, methods=["greedy"]))["datasets"][0]["selections"]
    assert {one["method"] for one in greedy} == {"greedy"}
    with pytest.raises(UsageError, match="unknown selection method 'no'"):
        eap_plugin.view(given, methods=["no"])
