"""Standard errors, tests of signs and bootstrap resamples of scores that are kept by group of prompts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy import stats
from torch import Tensor

import eap_plugin
from eap_plugin import NodeScores, PruneScores, UsageError
from eap_plugin.cli import main
from eap_plugin.data.batch import Batch
from eap_plugin.data.prompt_groups import assign_groups, group_weights
from eap_plugin.model.graph import Graph
from tests.results.test_scores import graphs, random_scores
from tests.support.zoo import prompts

GRAPH = Graph(2, 2, 1)


def with_groups(graph: Graph, n_groups: int = 4, positions: int | None = None, seed: int = 0) -> PruneScores:
    parts = [random_scores(graph, positions, seed * 100 + k).matrix for k in range(n_groups)]
    return PruneScores(graph, sum(parts, torch.zeros(())), {"algorithm": "eap"}, torch.stack(parts))


def sampled(effects: Tensor, sizes: list[int], n_groups: int) -> NodeScores:
    """Make scores of the effects [prompt, score] of independent prompts, in batches of these sizes."""
    batches = assign_groups([Batch(*prompts(size, 3)) for size in sizes], n_groups)
    groups = torch.zeros(n_groups, effects.shape[1], dtype=torch.float64)
    for batch, part in zip(batches, effects.split(sizes), strict=True):
        assert batch.groups is not None
        groups += batch.groups.double().T @ part / len(batch)
    rows = len(GRAPH.sources)
    shaped = groups.view(n_groups, rows, -1)
    return NodeScores(GRAPH, shaped.sum(0), "neuron", {}, shaped, group_weights(batches))


def jackknife(groups: Tensor) -> Tensor:
    """Leave out one group at a time; the others are scaled up to the size of all."""
    n = len(groups)
    without = torch.stack([groups[[j for j in range(n) if j != k]].sum(0) * n / (n - 1) for k in range(n)])
    return ((n - 1) / n * ((without - without.mean(0)) ** 2).sum(0)).sqrt()


@given(graphs, st.integers(2, 9), st.sampled_from([None, 2]))
def test_the_standard_error_is_that_of_the_jackknife(graph: Graph, n_groups: int, positions: int | None) -> None:
    scores = with_groups(graph, n_groups, positions)
    torch.testing.assert_close(scores.stderr, jackknife(scores.groups))  # type: ignore[arg-type]
    weighted = replace(scores, group_weights=torch.full((n_groups, 2), 0.3, dtype=torch.float64))
    torch.testing.assert_close(weighted.stderr, scores.stderr)


def test_it_is_that_of_runs_that_leave_a_group_out() -> None:
    model = eap_plugin.load_model("ioi-llama", dtype="float64")
    batch = eap_plugin.load_task("ioi", model, n_prompts=12).batch()
    scores = eap_plugin.prune_scores(model, [batch], groups=4)
    (grouped,) = assign_groups([batch], 4)
    assert grouped.groups is not None
    rest = [(~chosen).nonzero().flatten() for chosen in grouped.groups.unbind(1)]
    without = torch.stack([eap_plugin.prune_scores(model, [batch.select(rows)]).matrix for rows in rest])
    expected = (3 / 4 * ((without - without.mean(0)) ** 2).sum(0)).sqrt()
    torch.testing.assert_close(scores.stderr, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("sizes", [[50], [24, 24], [20, 13, 3]])
def test_it_is_right_on_average(sizes: list[int]) -> None:
    effects = 2 + 3 * torch.randn(sum(sizes), 7000, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    scores = sampled(effects, sizes, 8)
    variance = 9 * sum(1 / size for size in sizes)
    squares = scores.stderr**2
    assert float(squares.mean()) == pytest.approx(variance, rel=4 * float(squares.std() / squares.mean()) / 7000**0.5)
    assert float(scores.matrix.var()) == pytest.approx(variance, rel=0.07)


@pytest.mark.parametrize(("n_prompts", "n_groups"), [(16, 16), (50, 8), (9, 4)])
@pytest.mark.parametrize("alpha", [0.05, 0.3])
def test_a_sign_is_established_by_chance_as_often_as_alpha_says(n_prompts: int, n_groups: int, alpha: float) -> None:
    n = 14_000
    effects = torch.randn(n_prompts, n, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    share = float(sampled(effects, [n_prompts], n_groups).significant(alpha).double().mean())
    assert abs(share - alpha) <= 4 * (alpha * (1 - alpha) / n) ** 0.5


def test_significance_is_that_of_a_t_test_on_groups_of_one_prompt() -> None:
    effects = 0.3 + torch.randn(12, 7 * 20, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scores = sampled(effects, [12], 12)
    p_values = torch.from_numpy(stats.ttest_1samp(effects.numpy(), 0).pvalue).view_as(scores.matrix)
    for alpha in (0.01, 0.05, 0.5):
        assert torch.equal(scores.significant(alpha), p_values < alpha)


def test_where_there_is_no_edge_nothing_is_established() -> None:
    scores = with_groups(GRAPH)
    assert not bool(scores.significant(0.999)[~scores.is_edge].any())
    assert bool(scores.significant(0.999)[scores.is_edge].any())


def test_resamples_are_sums_of_drawn_groups() -> None:
    scores = with_groups(GRAPH, 3)
    assert scores.groups is not None
    possible = [scores.groups[[i, j, k]].sum(0) for i in range(3) for j in range(i, 3) for k in range(j, 3)]
    drawn = list(scores.resample(300, seed=5))
    closest = [min(range(len(possible)), key=lambda p: float((possible[p] - d).abs().max())) for d in drawn]
    for resample, index in zip(drawn, closest, strict=True):
        torch.testing.assert_close(resample, possible[index])
    assert len(set(closest)) == len(possible) == 10
    assert all(torch.equal(a, b) for a, b in zip(drawn, scores.resample(300, seed=5), strict=True))
    assert not torch.equal(drawn[0], next(scores.resample(1, seed=6)))


@pytest.mark.parametrize("sizes", [[50], [20, 13, 3]])
def test_resamples_vary_as_the_standard_error_says(sizes: list[int]) -> None:
    effects = 2 + torch.randn(sum(sizes), 7 * 30, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    scores = sampled(effects, sizes, 6)
    drawn = torch.stack(list(scores.resample(3000)))
    ratio = (drawn.var(0) / (scores.stderr**2 * 5 / 6)).mean()
    assert float(ratio) == pytest.approx(1, rel=0.05 if len(sizes) == 1 else 0.25)


@given(graphs, st.sampled_from([None, 3]))
def test_linear_operations_keep_groups(graph: Graph, positions: int | None) -> None:
    a, b = with_groups(graph, positions=positions), with_groups(graph, positions=positions, seed=1)
    for scores in (-a, 3 * a, a / 7, a + b, a - b, a.sum_positions(), a.sum_qkv(), a.sum_qkv().sum_positions()):
        assert scores.groups is not None
        torch.testing.assert_close(scores.groups.sum(0), scores.matrix, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close((-3 * a).stderr, 3 * a.stderr)
    torch.testing.assert_close((a + a).stderr, 2 * a.stderr)
    if positions:
        assert torch.equal(a.at(-1).groups, a.groups[:, -1])  # type: ignore[arg-type, index]


def test_positions_of_nodes_are_summed_in_groups_too() -> None:
    groups = torch.rand(4, 3, len(GRAPH.sources))
    nodes = NodeScores(GRAPH, groups.sum(0), groups=groups).sum_positions()
    assert torch.equal(nodes.groups, groups.sum(1))  # type: ignore[arg-type]
    torch.testing.assert_close(nodes.stderr, jackknife(groups.sum(1)))


def test_what_is_not_linear_or_of_other_groups_drops_them() -> None:
    scores, other = with_groups(GRAPH), with_groups(GRAPH, 5)
    assert abs(scores).groups is None
    weights = torch.full((4, 2), 0.25, dtype=torch.float64)
    for b in (other, random_scores(GRAPH), replace(scores, group_weights=weights)):
        assert (scores + b).groups is None and (b - scores).groups is None


def test_without_groups() -> None:
    scores = random_scores(GRAPH)
    for use in (lambda: scores.stderr, lambda: scores.significant(0.1), lambda: scores.resample(3)):
        with pytest.raises(UsageError, match=r"are not kept by group .* score with groups=16 \(eap run --groups 16\)"):
            use()
    with pytest.raises(UsageError, match="alpha is a probability between 0 and 1, got 5"):
        with_groups(GRAPH).significant(5)


@pytest.mark.parametrize("shape", [(1, 7, 11), (4, 7), (4, 7, 3)])
def test_groups_of_a_wrong_shape(shape: tuple[int, ...]) -> None:
    matrix = random_scores(GRAPH).matrix
    with pytest.raises(UsageError, match=r"must be \[groups, 7, \d+\], with at least 2 groups; got"):
        PruneScores(GRAPH, matrix, {}, torch.zeros(shape))
    with pytest.raises(UsageError, match=r"weights of groups must be \[groups=4, 2\], got \[3, 2\]"):
        replace(with_groups(GRAPH), group_weights=torch.ones(3, 2))


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
def test_a_file_keeps_them(level: str, tmp_path: Path) -> None:
    path, weights = tmp_path / "s.safetensors", torch.rand(4, 2, dtype=torch.float64)
    scores: Any = replace(with_groups(GRAPH), group_weights=weights)
    if level != "edge":
        groups = scores.groups if level == "neuron" else scores.groups.sum(-1)
        scores = NodeScores(GRAPH, groups.sum(0), level, {}, groups, weights)  # type: ignore[arg-type]
    scores.save(path)
    again = type(scores).load(path)
    assert again == scores and torch.equal(again.groups, scores.groups)
    assert torch.equal(again.group_weights, weights)
    save_file(load_file(path) | {"group_weights": torch.zeros(3)}, path, header(path))
    with pytest.raises(UsageError, match="weights of groups must be"):
        type(scores).load(path)


def header(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


def eap(*args: str) -> str:
    result = CliRunner(env={"COLUMNS": "80"}).invoke(main, args)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "s.safetensors"
    run = ("run", "ioi-gpt2", "--task", "ioi", "-n", "12", "--groups", "4", "--top", "3")
    printed = eap(*run, "-o", str(path))
    scores = PruneScores.load(path)
    n_sure = int(scores.significant().sum())
    assert f"sign established: {n_sure} of 262 edges (p < 0.05, from 4 groups of prompts)" in printed
    row = next(line for line in printed.splitlines() if line.startswith(scores.top(1)[0].name))
    assert row.split()[2] == f"±{float(scores.stderr.flatten()[scores.matrix.abs().argmax()]):#.4g}"
    shown = eap("show", str(path), "--top", "3")
    assert row.split() in [line.split() for line in shown.splitlines()]
    assert "groups of prompts  4" in shown and "sign established" in shown
    for line in (printed + shown).splitlines():
        assert len(line) <= 80 or str(path) in line
    for document in (json.loads(eap(*run, "--json")), json.loads(eap("show", str(path), "--json"))):
        assert document["n_significant"] == n_sure
        edge = document["edges"][0]
        assert edge["stderr"] == pytest.approx(float(scores.stderr[scores.graph.edge(edge["name"])]), rel=1e-6)
