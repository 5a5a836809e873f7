"""Edge pruning that starts from scores: where its gates start, and that the scores go along to a server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import eap_plugin
from eap_plugin import Batch, NodeScores, PruneScores, UsageError
from eap_plugin.algorithm.edge_pruning.gate_training import GateOptions, GateTraining
from eap_plugin.algorithm.edge_pruning.hard_concrete import START, open_probability
from eap_plugin.model.graph import Graph
from tests.results.test_scores import random_scores
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

BATCH = Batch(*prompts(3, 5))
AT_ONCE: dict[str, Any] = {"steps": 1, "learning_rate": 0.0}
"""A training that leaves the gates where they start."""


def prune(model: Any, **options: Any) -> PruneScores:
    found = eap_plugin.prune_scores(model, [BATCH], algorithm="edge-pruning", **options)
    assert isinstance(found, PruneScores)
    return found


def started(scores: list[float], sparsity: float | None) -> list[float]:
    training = GateTraining(len(scores), GateOptions(sparsity=sparsity))
    training.start_from(torch.tensor(scores))
    values: list[float] = training.state()["values"][:-1].tolist()
    return values


@given(
    st.lists(st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0]), min_size=1, max_size=20),
    st.sampled_from([None, 0.0, 0.5, 0.9, 1.0]),
)
def test_gates_start_by_rank(scores: list[float], sparsity: float | None) -> None:
    n, values = len(scores), started(scores, sparsity)
    n_open = 0 if sparsity is None else (1 - sparsity) * n
    for score, value in zip(scores, values, strict=True):
        stronger = sum(abs(other) > abs(score) for other in scores)
        place = stronger + sum(abs(other) == abs(score) for other in scores) / 2
        fall = 0 if place <= n_open else (place - n_open) / max(1, n - n_open)
        assert value == pytest.approx(START - 2 * START * fall)
    assert started([-10 * score for score in scores], sparsity) == values


def test_the_strongest_start_open_and_the_weakest_can_still_be_trained() -> None:
    values = started([float(score) for score in range(1000)], 0.9)
    assert values[900:] == pytest.approx([START] * 100) and values == sorted(values)
    assert values[0] == pytest.approx(-START, abs=0.01)
    weakest = float(open_probability(torch.tensor(values[0])))
    assert weakest == pytest.approx(0.5, abs=0.01)


@pytest.fixture
def scores(tmp_path: Path) -> tuple[PruneScores, str]:
    found, path = random_scores(eap_plugin.wrap_model(bridge(build("gpt2"))).graph), tmp_path / "start.safetensors"
    found.save(path)
    return found, str(path)


def test_the_file_decides_where_training_starts(scores: tuple[PruneScores, str], tmp_path: Path) -> None:
    model, (start, path) = bridge(build("gpt2")), scores
    found = prune(model, start=path, **AT_ONCE)
    initial = torch.tensor(started(start.matrix[start.is_edge].tolist(), 0.9), dtype=torch.float64)
    torch.testing.assert_close(found.matrix[found.is_edge], open_probability(initial))
    assert found.metadata["options"]["start"] == path
    by_position = tmp_path / "positions.safetensors"
    PruneScores(start.graph, torch.stack([start.matrix / 4] * 4)).save(by_position)
    assert prune(model, start=str(by_position), **AT_ONCE) == found
    elsewhere = tmp_path / "scores.csv"
    eap_plugin.export(start, elsewhere, format="csv")
    torch.testing.assert_close(prune(model, start=str(elsewhere), **AT_ONCE).matrix, found.matrix)
    few = {"steps": 4, "warmup": 1}
    assert prune(model, start=path, **few) == prune(model, start=path, **few) != prune(model, **few)


def test_on_a_server_the_scores_go_along(scores: tuple[PruneScores, str]) -> None:
    model, (_, path) = nnsight.NNsight(build("gpt2")), scores
    here, there = (prune(model, start=path, steps=4, warmup=1, remote=where) for where in (False, "local"))
    assert there == here


def test_checkpoints_are_of_one_start(scores: tuple[PruneScores, str], tmp_path: Path) -> None:
    model, (_, path), checkpoint = bridge(build("gpt2")), scores, str(tmp_path / "checkpoint.safetensors")
    prune(model, start=path, checkpoint=checkpoint, steps=2)
    prune(model, start=path, checkpoint=checkpoint, steps=3)
    with pytest.raises(UsageError, match="is a checkpoint of another run: its start is .*, this run's None"):
        prune(model, checkpoint=checkpoint, steps=3)


def test_scores_it_cannot_start_from(scores: tuple[PruneScores, str], tmp_path: Path) -> None:
    model, path = bridge(build("gpt2")), tmp_path / "other.safetensors"
    with pytest.raises(UsageError, match="there is no file"):
        prune(model, start=str(path))
    random_scores(Graph(1, 1, 1)).save(path)
    with pytest.raises(UsageError, match="the file has another graph"):
        prune(model, start=str(path))
    NodeScores(scores[0].graph, torch.zeros(len(scores[0].graph.sources))).save(path)
    with pytest.raises(UsageError, match="edge-pruning's start needs scores of edges, but .* has scores of nodes"):
        prune(model, start=str(path))
