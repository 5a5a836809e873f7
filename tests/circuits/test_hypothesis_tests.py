"""Hypothesis tests on circuits: p-values against enumeration, calibration on simulated nulls, power, random draws."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, kstest

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.hypothesis_tests.against_random import distance, necessity, sufficiency
from eap_plugin.circuits.hypothesis_tests.equivalence import equivalence
from eap_plugin.circuits.hypothesis_tests.independence import independence
from eap_plugin.circuits.hypothesis_tests.minimality import holm, minimality
from eap_plugin.circuits.hypothesis_tests.random_paths import RandomPaths
from eap_plugin.circuits.hypothesis_tests.result import Minimality
from eap_plugin.circuits.hypothesis_tests.run_tests import AT_ONCE, run_tests
from eap_plugin.circuits.hypothesis_tests.settings import TESTS, HypothesisTestSettings
from eap_plugin.circuits.pruning import keep_connected
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask, reader_feeds
from eap_plugin.model.graph import Graph

GRAPH = Graph(n_layers=3, n_heads=4, n_kv_heads=2)
SIMULATIONS = 400


def tail(values: range, count: int, chance: float) -> float:
    """Return the probability that a binomial variable has one of some values, summed term by term."""
    return sum(math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in values)


def at_distances(distances: torch.Tensor) -> torch.Tensor:
    """Return scores on two prompts whose mean squared difference from zero is the distance of each row."""
    return distances.double().sqrt()[:, None].expand(-1, 2)


counts = st.integers(29, 80).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n)))


@given(counts)
def test_sufficiency_and_necessity_are_binomial_tests_that_count_no_ties(drawn):
    above, ties, count = drawn
    above, ties = max(above, ties) - min(above, ties), min(above, ties)
    others = torch.tensor([2.0] * above + [1.0] * ties + [0.5] * (count - above - ties))
    zero, one = torch.zeros(2), torch.ones(2)
    sufficient = sufficiency(zero, one, at_distances(others))
    assert sufficient.statistic == above / count
    assert sufficient.p_value == pytest.approx(tail(range(above, count + 1), count, 0.9), abs=1e-12)
    assert sufficient.passed == sufficient.rejected == (sufficient.p_value <= 0.05)
    below = count - above - ties
    necessary = necessity(zero, one, at_distances(others))
    assert necessary.statistic == below / count
    assert necessary.p_value == pytest.approx(tail(range(below, count + 1), count, 0.9), abs=1e-12)


def test_distance_is_the_mean_squared_difference_per_prompt():
    assert distance(torch.tensor([[1.0, 2.0], [0.0, 0.0]]), torch.tensor([1.0, 4.0])).tolist() == [2.0, 8.5]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_is_closed_testing_by_bonferroni(p_values):
    sets = [s for r in range(len(p_values)) for s in itertools.combinations(range(len(p_values)), r + 1)]
    expected = [
        max(min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets if place in s)
        for place in range(len(p_values))
    ]
    assert holm(torch.tensor(p_values, dtype=torch.float64)).tolist() == pytest.approx(expected)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8))
def test_minimality_corrects_a_binomial_test_for_each_edge(exceeded):
    random_effects = torch.arange(40.0) + 1
    effects = torch.tensor([k + 0.5 for k in exceeded])
    found = minimality([f"e{i}" for i in range(len(effects))], effects, random_effects)
    plain = torch.tensor([tail(range(k + 1), 40, 0.9) for k in exceeded], dtype=torch.float64)
    expected = holm(plain).tolist()
    assert [edge.p_value for edge in found.edges] == pytest.approx(expected)
    assert [edge.needed for edge in found.edges] == [p > 0.05 for p in expected]
    assert found.statistic == sum(p <= 0.05 for p in expected)
    assert found.passed == (found.statistic == 0)
    names = [edge.edge for edge in found.edges if not edge.needed]
    assert all(name in found.sentence for name in names[:3])
    if len(names) > 3:
        assert found.sentence.endswith(f"{names[2]} and {len(names) - 3} more.")
    tied = minimality(["e"], random_effects[-1:], random_effects)
    assert tied.edges[0].p_value == pytest.approx(tail(range(40), 40, 0.9))


@given(st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=9), st.sampled_from([0.0, 0.1, 0.3]))
def test_equivalence_is_exact_over_all_outcomes_and_all_chances_allowed(signs, epsilon):
    model = torch.zeros(len(signs))
    found = equivalence(model, torch.tensor(signs).float(), epsilon=epsilon)
    decided = [sign for sign in signs if sign]
    seen = abs(sum(sign > 0 for sign in decided) - len(decided) / 2)

    def p_value(chance: float) -> float:
        outcomes = itertools.product((0, 1), repeat=len(decided))
        as_far = [sum(o) for o in outcomes if abs(sum(o) - len(decided) / 2) >= seen]
        return sum(chance**k * (1 - chance) ** (len(decided) - k) for k in as_far)

    assert found.p_value == pytest.approx(p_value(0.5 + epsilon))
    assert all(p_value(0.5 + share * epsilon) <= found.p_value + 1e-12 for share in (-1, -0.5, 0, 0.7, 1))
    assert found.passed == (found.p_value > 0.05)


def test_equivalence_of_equal_scores_is_not_rejected():
    found = equivalence(torch.ones(8), torch.ones(8))
    assert (found.p_value, found.statistic, found.passed) == (1.0, 0.5, True)


def hsic_by_hand(x: list[float], y: list[float]) -> float:
    """Compute HSIC with loops: the mean of products of doubly centred Gaussian kernels of median width."""

    def centred(values: list[float]) -> list[list[float]]:
        n = len(values)
        width = np.median([abs(values[i] - values[j]) for i in range(n) for j in range(i)])
        kernel = [[math.exp(-((a - b) ** 2) / (2 * width**2)) for a in values] for b in values]
        rows = [sum(row) / n for row in kernel]
        return [[kernel[i][j] - rows[i] - rows[j] + sum(rows) / n for j in range(n)] for i in range(n)]

    a, b = centred(x), centred(y)
    return sum(a[i][j] * b[i][j] for i in range(len(x)) for j in range(len(x))) / len(x) ** 2


def test_independence_agrees_with_all_permutations():
    model, without = [0.1, 1.2, 0.7, 2.5, 1.9], [0.3, 0.9, 1.5, 2.0, 2.6]
    found = independence(torch.tensor(model), torch.tensor(without), permutations=4000, seed=1)
    observed = hsic_by_hand(model, without)
    assert found.statistic == pytest.approx(observed, rel=1e-5)
    every = [hsic_by_hand(model, list(order)) for order in itertools.permutations(without)]
    exact = sum(value >= observed - 1e-9 for value in every) / len(every)
    assert found.p_value == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 4000))
    same = independence(torch.tensor(model), torch.tensor(without), permutations=4000, seed=1)
    assert same == found


def test_scores_that_hardly_vary_are_independent():
    assert independence(torch.arange(12.0), torch.ones(12), permutations=99).p_value == 1
    outlier = independence(torch.arange(12.0), torch.tensor([0.0] * 5 + [1.0] + [0.0] * 6), permutations=99)
    assert outlier.statistic > 0
    assert outlier.passed


def attained_at_most_as_often(p_values: np.ndarray, levels: list[float]) -> bool:
    """Return whether p-values at or below each level are as rare as the level says, within four standard errors."""
    return all(
        (p_values <= level).mean() <= level + 4 * math.sqrt(level * (1 - level) / len(p_values)) for level in levels
    )


def test_binomial_p_values_are_calibrated_where_the_null_hypothesis_just_holds():
    rng = torch.Generator().manual_seed(0)
    effects = torch.rand(SIMULATIONS, 60, generator=rng)
    zero = torch.zeros(2)
    at_quantile = at_distances(torch.tensor([0.1, 0.9]))
    sufficient = np.array([sufficiency(zero, at_quantile[0], at_distances(e)).p_value for e in effects])
    necessary = np.array([necessity(zero, at_quantile[1], at_distances(e)).p_value for e in effects])
    unneeded = np.array([minimality("abc", torch.tensor([0.9, 0.95, 1.0]), e).p_value for e in effects])
    attained = [tail(range(k, 61), 60, 0.9) for k in range(50, 61)]
    for p_values in (sufficient, necessary):
        shares = [(p_values <= level + 1e-12).mean() for level in attained]
        errors = [4 * math.sqrt(level * (1 - level) / SIMULATIONS) for level in attained]
        assert all(abs(s - level) <= e for s, level, e in zip(shares, attained, errors, strict=True))
    assert attained_at_most_as_often(unneeded, [0.01, 0.05, 0.2])


def test_equivalence_is_calibrated_at_the_edge_of_what_it_allows():
    rng = torch.Generator().manual_seed(1)
    higher = torch.rand(SIMULATIONS, 50, generator=rng) < 0.6
    p_values = np.array([equivalence(torch.zeros(50), row.float() - 0.5).p_value for row in higher])
    assert attained_at_most_as_often(p_values, [0.01, 0.05, 0.1, 0.3, 0.6])
    assert (p_values <= 0.05).mean() > 0.01


def test_independence_p_values_are_uniform_for_independent_scores():
    rng = np.random.default_rng(2)
    draws = torch.from_numpy(rng.standard_normal((200, 2, 16)))
    p_values = [independence(x, y, permutations=99, seed=i).p_value for i, (x, y) in enumerate(draws)]
    spread = np.array(p_values) - rng.random(200) / 100
    assert kstest(spread, "uniform").pvalue > 0.01


def test_clear_alternatives_are_found():
    rng = torch.Generator().manual_seed(3)
    model = torch.randn(64, generator=rng)
    noise = torch.randn(100, 64, generator=rng)
    near, far = model + 0.1 * noise[0], 3 + 3 * noise[1]
    assert sufficiency(model, near, noise).p_value < 1e-4
    assert necessity(model, far, model + noise).p_value < 1e-4
    assert not equivalence(model, model - 0.1).passed
    assert independence(model, model**2, permutations=99).p_value == 0.01
    assert independence(model, noise[2]).passed
    assert equivalence(model, near).passed


@given(size=st.integers(0, GRAPH.n_edges), seed=st.integers(0, 5))
def test_circuits_of_paths_have_exactly_the_size_and_at_most_one_path_cut(size, seed):
    circuit, again = (RandomPaths(GRAPH, seed).circuit(size) for _ in range(2))
    assert torch.equal(circuit, again)
    assert int(circuit.sum()) == size
    assert not (circuit & ~edge_mask(GRAPH)).any()
    longest = 2 * GRAPH.n_layers
    assert int((circuit & ~keep_connected(GRAPH, circuit)).sum()) <= longest


@given(size=st.integers(0, GRAPH.n_edges - 1), seed=st.integers(0, 3))
def test_added_paths_lose_one_edge_that_was_added(size, seed):
    source = RandomPaths(GRAPH, seed)
    circuit = source.circuit(size)
    inflated, knocked_out = source.added(circuit)
    assert not (circuit & ~knocked_out).any()
    assert not (knocked_out & ~inflated).any()
    assert int((inflated & ~knocked_out).sum()) == 1
    assert not (inflated & ~edge_mask(GRAPH)).any()


def test_paths_are_random_walks():
    graph = Graph(n_layers=1, n_heads=2, n_kv_heads=1)
    mask, feeds = edge_mask(graph), reader_feeds(graph)

    def chances(row: int, chance: float) -> dict[tuple[int, int], float]:
        """Follow all walks onwards from a writer, and return the chance of each last edge."""
        found: dict[tuple[int, int], float] = {}
        readers = mask[row].nonzero().flatten().tolist()
        for column in readers:
            writers = feeds[column].nonzero().flatten().tolist()
            if not writers:
                found[row, column] = found.get((row, column), 0) + chance / len(readers)
            for writer in writers:
                for edge, more in chances(writer, chance / len(readers) / len(writers)).items():
                    found[edge] = found.get(edge, 0) + more
        return found

    expected = chances(0, 1.0)
    assert sum(expected.values()) == pytest.approx(1)
    source = RandomPaths(graph, seed=0)
    last = [tuple(source.circuit(1).nonzero()[0].tolist()) for _ in range(2000)]
    assert chisquare([last.count(edge) for edge in expected], [2000 * p for p in expected.values()]).pvalue > 0.01


class LinearModel:
    """A model whose score on a prompt is the sum of its kept edges' weights times the prompt's own number."""

    def __init__(self, important: int) -> None:
        rng = torch.Generator().manual_seed(0)
        path = RandomPaths(GRAPH, seed=9).circuit(important)
        self.weights = 1e-3 * torch.randn(path.shape, generator=rng, dtype=torch.float64)
        self.weights[path] = 1.0
        self.prompts = torch.randn(40, generator=rng, dtype=torch.float64)
        self.noise = 0.05 * torch.randn(40, generator=rng, dtype=torch.float64)
        self.circuit = Circuit(GRAPH, path)
        self.calls: list[int] = []

    def run(self, masks: list[torch.Tensor]) -> torch.Tensor:
        self.calls.append(len(masks))
        kept = torch.stack([(self.weights * mask).sum() for mask in masks])
        whole = (self.weights * edge_mask(GRAPH)).sum()
        return kept[:, None] * self.prompts + (kept / whole)[:, None] * self.noise


@pytest.mark.parametrize("drawn", ["paths", "edges"])
def test_the_circuit_of_a_linear_model_passes(drawn):
    linear = LinearModel(12)
    results = run_tests(linear.circuit, linear.run, HypothesisTestSettings(drawn=drawn))
    assert [result.name for result in results] == list(TESTS)
    passed = {result.name: result.passed for result in results}
    assert passed == {**dict.fromkeys(TESTS, True), "independence": False}
    assert all(result.sentence.endswith(".") and "\n" not in result.sentence for result in results)
    assert max(linear.calls) <= AT_ONCE


@pytest.mark.parametrize("drawn", ["paths", "edges"])
def test_a_superfluous_edge_is_named(drawn):
    linear = LinearModel(12)
    idle = next(e for e in Circuit(GRAPH, edge_mask(GRAPH)).edge_names if e not in linear.circuit)
    edges = linear.circuit.edges.clone()
    edges[GRAPH.edge(idle)] = True
    linear.weights[GRAPH.edge(idle)] = 0.0
    (found,) = run_tests(Circuit(GRAPH, edges), linear.run, HypothesisTestSettings(tests=("minimality",), drawn=drawn))
    assert isinstance(found, Minimality)
    assert [edge.edge for edge in found.edges if not edge.needed] == [idle]
    assert found.rejected and not found.passed
    assert found.sentence == f"Of 13 edges tested, compared with randomly added ones, 1 is superfluous: {idle}."
    linear.calls.clear()
    few = HypothesisTestSettings(tests=("minimality",), drawn=drawn, max_edges=4)
    (some,) = run_tests(Circuit(GRAPH, edges), linear.run, few)
    assert isinstance(some, Minimality)
    assert len(some.edges) == 4
    assert sum(linear.calls) == few.n_runs(Circuit(GRAPH, edges)) == 3 + 4 + (200 if drawn == "paths" else 100)


def test_a_random_circuit_is_neither_sufficient_nor_necessary():
    linear = LinearModel(12)
    other = Circuit(GRAPH, RandomPaths(GRAPH, seed=77).circuit(12))
    results = run_tests(other, linear.run, HypothesisTestSettings(tests=("sufficiency", "necessity")))
    assert [result.passed for result in results] == [False, False]
    source, every = RandomPaths(GRAPH, seed=0), edge_mask(GRAPH)
    draws = [source.circuit(12) for _ in range(100)]
    model = linear.run([every])[0]

    def distances(masks: list[torch.Tensor]) -> torch.Tensor:
        return (linear.run(masks) - model).square().mean(1)

    further = distances(draws) > distances([other.edges])
    less = distances([every & ~draw for draw in draws]) < distances([every & ~other.edges])
    assert [result.statistic for result in results] == [float(further.double().mean()), float(less.double().mean())]


def test_only_runs_that_are_needed_are_made_and_results_do_not_depend_on_the_others():
    linear = LinearModel(12)
    every = run_tests(linear.circuit, linear.run, HypothesisTestSettings(seed=4))
    assert sum(linear.calls) == HypothesisTestSettings().n_runs(linear.circuit) == 3 + 100 + 100 + (12 + 200)
    linear.calls.clear()
    alone = [run_tests(linear.circuit, linear.run, HypothesisTestSettings(tests=(name,), seed=4))[0] for name in TESTS]
    assert tuple(alone) == every
    assert sum(linear.calls) == 5 * 3 + 100 + 100 + (12 + 200)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tests": ("minimalty",)}, r"unknown test 'minimalty'; did you mean 'minimality'\?"),
        ({"drawn": "nodes"}, "drawn as 'paths' or 'edges', got 'nodes'"),
        ({"quantile": 1.0}, "quantile must be between 0 and 1, got 1.0"),
        ({"alpha": 0.0}, "alpha must be between 0 and 1, got 0.0"),
        ({"epsilon": 0.5}, "epsilon must be at least 0 and below 0.5"),
        ({"permutations": 0}, "permutations and max_edges must be at least 1"),
        ({"max_edges": 0}, "permutations and max_edges must be at least 1"),
        ({"random_circuits": 28}, r"with 28 random circuits no result could be significant \(quantile 0.9, level"),
    ],
)
def test_settings_that_make_no_sense_are_usage_errors(given, message):
    with pytest.raises(UsageError, match=message):
        HypothesisTestSettings(**given)


def test_circuits_that_cannot_be_tested_are_usage_errors():
    linear = LinearModel(12)
    for edges in (edge_mask(GRAPH), torch.zeros_like(edge_mask(GRAPH))):
        with pytest.raises(UsageError, match="test one that has some, but not all"):
            run_tests(Circuit(GRAPH, edges), linear.run, HypothesisTestSettings())
    neurons = torch.ones(len(GRAPH.sources), 8, dtype=torch.bool)
    with pytest.raises(UsageError, match="a circuit of neurons"):
        run_tests(Circuit(GRAPH, linear.circuit.edges, neurons), linear.run, HypothesisTestSettings())
