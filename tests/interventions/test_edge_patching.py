"""Patched edges against finite differences and against whole runs, on several architectures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.interventions.edge_patching import EdgePatch
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.metric.metric import METRICS
from eap_plugin.model.residual_model import ResidualModel
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import ARCHITECTURES, build, prompts

LOGIT_DIFF = METRICS[0]


def patched_metric(model: ResidualModel, batch: Batch, patch: torch.Tensor) -> float:
    def program(model: ResidualModel) -> float:
        with torch.no_grad():
            recorder = WriterRecorder(model)
            model.forward(batch.corrupt, recorder.visitors())
            logits = model.forward(batch.clean, EdgePatch(model, recorder.writers(), patch).visitors())
        return float(LOGIT_DIFF(logits, batch))

    return model.run(program)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_small_patch_moves_the_metric_by_the_score(name: str) -> None:
    """The derivative of the metric along each edge's patch, by central differences, is minus its score."""
    batch = Batch(*prompts(3, 6))
    model = eap_plugin.wrap_model(bridge(build(name, torch.float64)))
    with InFloat64():
        scores = eap_plugin.prune_scores(model, [batch])
        edges = scores.top(scores.n_edges)
        step, largest = 1e-4, abs(edges[0].score)
        for edge in edges[:: max(1, len(edges) // 8)]:
            patch = torch.zeros(scores.matrix.shape, dtype=torch.float64)
            patch[scores.graph.edge(edge.name)] = step
            slope = (patched_metric(model, batch, patch) - patched_metric(model, batch, -patch)) / (2 * step)
            assert slope == pytest.approx(-edge.score, abs=1e-6 * largest)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_patching_everything_is_the_corrupt_run(name: str) -> None:
    batch = Batch(*prompts(3, 6))
    model = eap_plugin.wrap_model(bridge(build(name)))
    everything = torch.ones(len(model.graph.sources), len(model.graph.readers))
    clean = patched_metric(model, batch, everything * 0)
    corrupt = patched_metric(model, batch, everything)
    swapped = replace(batch, clean=batch.corrupt, corrupt=batch.clean)
    assert abs(clean - corrupt) > 0.01
    assert corrupt == pytest.approx(patched_metric(model, swapped, everything * 0), abs=1e-5)
