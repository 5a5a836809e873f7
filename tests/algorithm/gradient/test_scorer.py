"""Scores do not depend on how a scorer divides its work: by positions, by layers, and by runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.algorithm.gradient import edge_scorer
from eap_plugin.algorithm.gradient.edge_scorer import EdgeScorer
from eap_plugin.algorithm.gradient.neuron_scorer import NeuronScorer
from eap_plugin.algorithm.gradient.scorer import Scorer
from eap_plugin.data.batch import Batch
from eap_plugin.interventions import workspace
from eap_plugin.interventions.recording import GradientRecorder, ReaderGradients, WriterRecorder
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.residual_model import ResidualModel
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

SHAPES = {
    "in one piece": (2**24, 150),
    "a layer at a time": (2**24, 1),
    "a position at a time": (1, 150),
}
"""The size of the workspace, and the number of readers in a product."""

RUNS: list[dict[str, Any]] = [
    {"algorithm": "eap"},
    {"algorithm": "eap", "positions": True},
    {"algorithm": "eap-ig-inputs", "steps": 3},
    {"algorithm": "eap-ig-inputs", "steps": 3, "level": "neuron"},
    {"algorithm": "eap-ig-activations", "steps": 2},
    {"algorithm": "eap-gp", "steps": 2},
    {"algorithm": "clean-corrupted"},
]


@pytest.fixture(scope="module", params=["gpt2", "gptj"])
def model(request: pytest.FixtureRequest) -> ResidualModel:
    with InFloat64():
        return eap_plugin.wrap_model(bridge(build(request.param, torch.float64)))


def scores(model: ResidualModel, **options: Any) -> Tensor:
    with InFloat64():
        return eap_plugin.prune_scores(model, [Batch(*prompts(2, 4))], **options).matrix


@pytest.mark.parametrize("options", RUNS, ids=lambda options: " ".join(map(str, options.values())))
def test_the_size_of_the_workspace_does_not_matter(
    options: dict[str, Any], model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the smallest one, gradients do not wait for those of the next run, either."""
    found = []
    for size, n_readers in SHAPES.values():
        monkeypatch.setitem(workspace.WORKSPACE, "cpu", size)
        monkeypatch.setattr(edge_scorer, "FAST_READERS", n_readers)
        found.append(scores(model, **options))
    largest = float(found[0].abs().max())
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=0, atol=1e-12 * largest)
    if "level" not in options:
        assert not found[0].masked_fill(edge_mask(model.graph), 0).any()


@pytest.mark.parametrize("kind", [EdgeScorer, NeuronScorer])
def test_runs_add_up(kind: type[Scorer], model: ResidualModel) -> None:
    """Gradients of two runs with different norms, given together and one after the other."""
    clean, corrupt, *_ = prompts(2, 4)
    writers, runs = [], list[ReaderGradients]()
    for tokens in (clean, corrupt):
        recorder, readers = WriterRecorder(model), GradientRecorder(model)
        with model.frozen(), torch.enable_grad():
            model.forward(tokens, recorder.visitors())
            runs.append(readers.gradients(model.forward(tokens, readers.visitors()).pow(2).sum()))
        writers.append(recorder.writers())
    change = writers[1].minus(writers[0])
    together, apart = (kind(model, torch.float64, n_positions=4) for _ in range(2))
    together.add(change, *runs)
    for gradients in runs:
        apart.add(change, gradients)
    assert apart.matrix.any()
    torch.testing.assert_close(together.matrix, apart.matrix, rtol=0, atol=1e-12 * float(apart.matrix.abs().max()))
