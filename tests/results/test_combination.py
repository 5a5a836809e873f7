"""Combined scores, against their definitions written out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eap_plugin
from eap_plugin import NodeScores, PruneScores, UsageError
from eap_plugin.model.graph import Graph
from tests.results.test_grouped import with_groups
from tests.results.test_scores import graphs, random_scores

GRAPH = Graph(2, 2, 1)


def rounded(graph: Graph, seed: int, positions: int | None = None) -> PruneScores:
    """Make scores with ties and zeros."""
    return PruneScores(graph, (2 * random_scores(graph, positions, seed).matrix).round() / 2)


def signed_ranks(scores: PruneScores) -> torch.Tensor:
    out, sizes = torch.zeros_like(scores.matrix), scores.matrix.abs()
    scored = sizes[..., scores.is_edge].flatten().tolist()
    for place in sizes.nonzero().tolist():
        size = float(sizes[tuple(place)])
        rank = sum(other < size for other in scored) + (sum(other == size for other in scored) + 1) / 2
        out[tuple(place)] = scores.matrix[tuple(place)].sign() * rank / len(scored)
    return out


@given(st.builds(Graph, st.integers(1, 2), st.just(2), st.integers(1, 2)), st.sampled_from([None, 2]))
def test_ways_to_combine(graph: Graph, positions: int | None) -> None:
    parts = [rounded(graph, seed, positions) for seed in range(3)]
    stacked = torch.stack([part.matrix for part in parts])
    torch.testing.assert_close(eap_plugin.combine(parts).matrix, stacked.mean(0))
    ranks = torch.stack([signed_ranks(part) for part in parts])
    torch.testing.assert_close(eap_plugin.combine(parts, "rank-mean").matrix, ranks.mean(0))
    for how, choose in (("max", max), ("min", min)):
        expected = [choose(values, key=abs) for values in stacked.flatten(1).T.tolist()]
        assert eap_plugin.combine(parts, how).matrix.flatten().tolist() == expected  # type: ignore[arg-type]


@given(graphs)
def test_normalization(graph: Graph) -> None:
    parts = [rounded(graph, seed) for seed in range(2)]
    parts[1].matrix[:, 0] = 0
    largest = [part.matrix.abs().max() for part in parts]
    expected = sum(p.matrix / (m or 1) for p, m in zip(parts, largest, strict=True)) / 2  # type: ignore[operator]
    torch.testing.assert_close(eap_plugin.combine(parts, normalize="global").matrix, expected)
    by_reader = torch.zeros_like(parts[0].matrix)
    for part in parts:
        for column in range(len(graph.readers)):
            size = float(part.matrix[:, column].abs().max())
            by_reader[:, column] += part.matrix[:, column] / (size or 1) / 2
    torch.testing.assert_close(eap_plugin.combine(parts, normalize="reader").matrix, by_reader)


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_nodes_and_neurons(level: Any) -> None:
    shape = (7,) if level == "node" else (7, 3)
    parts = [NodeScores(GRAPH, torch.randn(shape), level) for _ in range(2)]
    found = eap_plugin.combine(parts, normalize="global")
    assert isinstance(found, NodeScores) and found.level == level
    torch.testing.assert_close(found.matrix, sum(part.matrix / part.matrix.abs().max() for part in parts) / 2)
    with pytest.raises(UsageError, match=f"normalize='reader' is for scores of edges; {level}s have no reader"):
        eap_plugin.combine(parts, normalize="reader")


def test_where_it_comes_from() -> None:
    a, b = (
        random_scores(GRAPH, algorithm=name, model="m", metric="x", metric_unit="u", score_unit="u", created=name)
        for name in ("eap", "relp")
    )
    b.metadata["metric"] = "y"
    for unit in ("metric_unit", "score_unit"):
        units = {how: eap_plugin.combine([a, b], how).metadata.get(unit) for how in ("mean", "rank-mean")}
        assert units == {"mean": "u", "rank-mean": None}
    about = eap_plugin.combine([a, b], "max", "global").metadata
    assert about == {
        "model": "m",
        "algorithm": "max of eap, relp",
        "combined": {"how": "max", "normalize": "global"},
        "parts": [a.metadata, b.metadata],
    }


def test_groups_stay_with_a_plain_mean() -> None:
    a, b = with_groups(GRAPH, seed=1), with_groups(GRAPH, seed=2)
    mean = eap_plugin.combine([a, b])
    torch.testing.assert_close(mean.stderr, ((a + b) / 2).stderr)
    for other in (eap_plugin.combine([a, b], "max"), eap_plugin.combine([a, b], normalize="global")):
        assert other.groups is None
    assert eap_plugin.combine([a, replace(b, groups=None)]).groups is None


@pytest.mark.parametrize(
    ("parts", "how", "said"),
    [
        ([random_scores(GRAPH)], {}, "a combination needs at least two scores, got 1"),
        ([random_scores(GRAPH), random_scores(Graph(1, 1, 1))], {}, "only scores of the same level, graph and shape"),
        ([random_scores(GRAPH), random_scores(GRAPH, 2)], {}, "only scores of the same level, graph and shape"),
        ([random_scores(GRAPH)] * 2, {"how": "sum"}, "how must be one of mean, rank-mean, max, min, got 'sum'"),
        ([random_scores(GRAPH)] * 2, {"normalize": "x"}, "normalize must be one of none, reader, global, got 'x'"),
    ],
)
def test_what_cannot_be_combined(parts: Any, how: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        eap_plugin.combine(parts, **how)
