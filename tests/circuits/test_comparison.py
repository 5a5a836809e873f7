"""Comparison of scores and of circuits, against counts and formulas written out."""

from __future__ import annotations

from itertools import combinations
from math import comb, isnan
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eap_plugin
from eap_plugin import Circuit, NodeScores, PruneScores, UsageError
from eap_plugin.circuits.comparison.pairwise import PairwiseComparison
from eap_plugin.circuits.comparison.ranking import chance_overlap
from eap_plugin.circuits.comparison.stability import Stability, stability
from eap_plugin.circuits.comparison.two_circuits import CircuitComparison
from eap_plugin.circuits.comparison.two_scores import ScoreComparison
from eap_plugin.model.graph import Graph
from tests.results.test_grouped import with_groups
from tests.results.test_scores import graphs, random_scores

GRAPH = Graph(2, 2, 1)


def rounded(graph: Graph, seed: int) -> PruneScores:
    """Make scores with ties and zeros."""
    return PruneScores(graph, (2 * random_scores(graph, seed=seed).matrix).round() / 2)


def entries(scores: PruneScores) -> dict[str, float]:
    """Return the scores by name, in the matrix's order."""
    graph = scores.graph
    return {graph.edge_name(r, c): float(scores.matrix[r, c]) for r, c in scores.is_edge.nonzero().tolist()}


def ranks(values: list[float]) -> list[float]:
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def spearman(a: list[float], b: list[float]) -> float:
    """Compute Pearson's correlation of ranks, by its definition."""
    x, y = ranks(a), ranks(b)
    mx, my = sum(x) / len(x), sum(y) / len(y)
    covariance = sum((p - mx) * (q - my) for p, q in zip(x, y, strict=True))
    return float(covariance / (sum((p - mx) ** 2 for p in x) * sum((q - my) ** 2 for q in y)) ** 0.5)


def top(scores: dict[str, float], k: int) -> set[str]:
    return set(sorted(scores, key=lambda name: -abs(scores[name]))[:k])


@settings(max_examples=15)
@given(st.builds(Graph, st.integers(1, 2), st.just(2), st.integers(1, 2)), st.integers(0, 99))
def test_two_scores(graph: Graph, seed: int) -> None:
    a, b = rounded(graph, seed), rounded(graph, seed + 100)
    x, y = entries(a), entries(b)
    n = len(x)
    ks = sorted({1, n // 3 + 1, n})
    found = eap_plugin.compare(a, b, k=ks)
    assert isinstance(found, ScoreComparison) and found.n == n
    numbers = list(x.values()), list(y.values())
    absolute = [[abs(v) for v in values] for values in numbers]
    for value, (p, q) in ((found.rank_correlation, numbers), (found.abs_rank_correlation, absolute)):
        if len(set(p)) > 1 and len(set(q)) > 1:
            assert value == pytest.approx(spearman(p, q), abs=1e-12)
        else:
            assert isnan(value)
    signed = [x[e] * y[e] > 0 for e in x if x[e] and y[e]]
    assert found.same_sign == pytest.approx(sum(signed) / len(signed)) if signed else isnan(found.same_sign)
    for k, part in zip(ks, found.tops, strict=True):
        both = top(x, k) & top(y, k)
        assert (part.k, part.shared) == (k, len(both)) and part.expected == pytest.approx(k * k / n)
        at_least = sum(comb(k, i) * comb(n - k, k - i) for i in range(len(both), k + 1)) / comb(n, k)
        assert part.p_value == pytest.approx(at_least)
        either = [e for e in x if e in top(x, k) | top(y, k)]
        p, q = [x[e] for e in either], [y[e] for e in either]
        if len(set(p)) > 1 and len(set(q)) > 1:
            assert part.rank_correlation == pytest.approx(spearman(p, q), abs=1e-12)
    scale = {name: max(map(abs, values.values())) or 1 for name, values in (("x", x), ("y", y))}
    relative = {e: x[e] / scale["x"] - y[e] / scale["y"] for e in x}
    assert [part.name for part in found.differing] == sorted(relative, key=lambda e: -abs(relative[e]))[:10]
    for part in found.differing:
        assert (part.first, part.second) == (x[part.name], y[part.name])
        assert part.relative == pytest.approx(relative[part.name])


def test_overlap_by_chance_is_that_of_all_draws() -> None:
    first, draws = set(range(4)), [set(draw) for draw in combinations(range(9), 3)]
    for shared in range(4):
        overlap = chance_overlap(shared, 4, 3, 9)
        assert overlap.expected == pytest.approx(sum(len(first & draw) for draw in draws) / len(draws))
        assert overlap.p_value == pytest.approx(sum(len(first & draw) >= shared for draw in draws) / len(draws))


def test_scores_in_different_layouts() -> None:
    a, b = random_scores(GRAPH, positions=3), random_scores(GRAPH, seed=1)
    for other in (a, a.sum_positions()):
        assert eap_plugin.compare(other, b, names="ab") == eap_plugin.compare(a.sum_positions(), b, names="ab")
        found = eap_plugin.compare(other, b.sum_qkv(), names="ab")
        assert found == eap_plugin.compare(a.sum_positions().sum_qkv(), b.sum_qkv(), names="ab")


def test_nodes_and_neurons() -> None:
    a, b = (torch.randn(len(GRAPH.sources), 5, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    neurons = eap_plugin.compare(NodeScores(GRAPH, a, "neuron"), NodeScores(GRAPH, b, "neuron"))
    assert isinstance(neurons, ScoreComparison)
    assert neurons.n == 35 and neurons.level == "neuron"
    assert neurons.abs_rank_correlation == pytest.approx(
        spearman(a.abs().flatten().tolist(), b.abs().flatten().tolist())
    )
    place = int((a / a.abs().max() - b / b.abs().max()).abs().argmax())
    assert neurons.differing[0].name == f"{GRAPH.sources[place // 5]}[{place % 5}]"
    nodes = eap_plugin.compare(NodeScores(GRAPH, a[:, 0]), NodeScores(GRAPH, b[:, 0]), k=[2])
    assert isinstance(nodes, ScoreComparison) and nodes.n == 7 and nodes.tops[0].k == 2


@given(graphs, st.floats(0, 1), st.floats(0, 1))
def test_two_circuits(graph: Graph, p: float, q: float) -> None:
    is_edge = random_scores(graph).is_edge
    masks = [
        is_edge & (torch.rand(is_edge.shape, generator=torch.Generator().manual_seed(i)) < x)
        for i, x in ((0, p), (1, q))
    ]
    a, b = (Circuit(graph, mask) for mask in masks)
    found = eap_plugin.compare(a, b)
    assert isinstance(found, CircuitComparison)
    first, second = set(a.edge_names), set(b.edge_names)
    assert found.sizes == (len(first), len(second)) and found.n == graph.n_edges
    assert found.shared == len(first & second)
    assert found.expected == pytest.approx(len(first) * len(second) / graph.n_edges)
    if first | second:
        assert found.jaccard == pytest.approx(len(first & second) / len(first | second))
    assert [set(only) for only in found.only] == [first - second, second - first]


def test_more_than_two() -> None:
    scores = [random_scores(GRAPH, seed=s) for s in range(3)]
    found = eap_plugin.compare(*scores, names=["one", "two", "three"], k=[20])
    assert isinstance(found, PairwiseComparison)
    assert list(found.pairs) == [(0, 1), (0, 2), (1, 2)]
    for (i, j), pair in found.pairs.items():
        both = [found.names[i], found.names[j]]
        assert pair == eap_plugin.compare(scores[i], scores[j], names=both, k=[20])
    shown = found.table()
    for pair in found.pairs.values():
        assert shown.count(f"{next(iter(pair.similarities.values())):+.2f}") >= 2
    assert "+1.00██" in shown and "A  one" in shown


def test_halves_of_one() -> None:
    """With two groups, there is one pair of halves; with equal groups, the halves are the same."""
    scores = with_groups(GRAPH, 2)
    assert scores.groups is not None
    found = stability(scores, "s", [5], n_splits=4)
    assert (found.n_groups, found.n_splits) == (2, 4)
    both = eap_plugin.compare(*(PruneScores(GRAPH, group) for group in scores.groups), k=[5])
    assert isinstance(both, ScoreComparison)
    assert found.rank_correlation == pytest.approx([both.rank_correlation] * 3)
    assert found.abs_rank_correlation == pytest.approx([both.abs_rank_correlation] * 3)
    assert found.shared[5] == pytest.approx([both.tops[0].shared] * 3)
    same = PruneScores(GRAPH, scores.matrix * 4, groups=torch.stack([scores.matrix] * 4))
    stable = stability(same, "s", [5], n_splits=4)
    assert stable.rank_correlation == pytest.approx([1, 1, 1]) and stable.shared[5] == (5, 5, 5)
    many = with_groups(GRAPH, 8)
    (first, again), other = (stability(many, "s", n_splits=4, seed=1) for _ in range(2)), stability(many, "s", seed=2)
    assert first == again != other
    assert isinstance(other, Stability) and eap_plugin.compare(many, names=["s"], seed=2) == other


@pytest.mark.parametrize(
    ("things", "how", "said"),
    [
        ((), {}, "there is nothing to compare"),
        ((random_scores(GRAPH), random_scores(Graph(3, 2, 1))), {}, "scores of different graphs cannot be compared"),
        ((random_scores(GRAPH), NodeScores(GRAPH, torch.zeros(7))), {}, "scores of edges and of nodes cannot be"),
        ((random_scores(GRAPH),) * 2, {"k": [78]}, "between 1 and the number of scores, 36; got 78"),
        ((random_scores(GRAPH),) * 2, {"names": ["a"]}, "give a name for each of the 2 to compare; got 1 names"),
        ((random_scores(GRAPH),), {}, r"alone can only be compared with itself, .* if it was scored with groups=16"),
    ],
)
def test_what_cannot_be_compared(things: Any, how: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        eap_plugin.compare(*things, **how)


def test_circuits_that_cannot_be_compared(tmp_path: Path) -> None:
    scores = random_scores(GRAPH)
    circuit = Circuit(GRAPH, scores.is_edge)
    for things, how, said in (
        ((circuit,), {}, "a single circuit cannot be compared with itself"),
        ((circuit, scores), {}, "scores and circuits cannot be compared with each other"),
        ((circuit, circuit), {"k": [3]}, "k is how many of the largest scores to compare, but these are circuits"),
        ((circuit, Circuit(Graph(1, 1, 1), random_scores(Graph(1, 1, 1)).is_edge)), {}, "circuits of different graphs"),
    ):
        with pytest.raises(UsageError, match=said):
            eap_plugin.compare(*things, **how)  # type: ignore[arg-type]
