"""Patched edges against finite differences and against whole runs, on several architectures."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import eap_plugin
from eap_plugin.circuits.evaluation import faithfulness, strongest
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


@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj"])
def test_faithfulness_of_the_whole_and_of_nothing(name: str) -> None:
    batches = [Batch(*prompts(5, 6)), Batch(*prompts(3, 7, seed=1))]
    model = eap_plugin.wrap_model(bridge(build(name)))
    scores = eap_plugin.prune_scores(model, batches)
    circuits = [strongest(scores, 1.0), strongest(scores, 0.0), strongest(scores, 0.5)]
    whole, nothing, half = faithfulness(model, batches, LOGIT_DIFF, circuits)
    assert whole == pytest.approx(1, abs=1e-5)
    assert nothing == pytest.approx(0, abs=1e-5)
    assert faithfulness(model, batches, LOGIT_DIFF, circuits, batch_size=2)[2] == pytest.approx(half, abs=1e-5)


def test_faithfulness_by_kl() -> None:
    """KL needs the clean run's logits, which come up on the way; the whole model diverges by nothing."""
    batches = [Batch(*prompts(5, 6))]
    model = eap_plugin.wrap_model(bridge(build("gpt2")))
    scores = eap_plugin.prune_scores(model, batches)
    kl = eap_plugin.metrics()["kl"]
    whole, nothing = faithfulness(model, batches, kl, [strongest(scores, 1.0), strongest(scores, 0.0)])
    assert whole == pytest.approx(1, abs=1e-4)
    assert nothing == pytest.approx(0, abs=1e-4)


def test_faithfulness_of_prompts_that_do_not_differ_is_refused() -> None:
    batch = Batch(*prompts(2, 6))
    model = eap_plugin.wrap_model(bridge(build("gpt2")))
    keep = torch.ones(len(model.graph.sources), len(model.graph.readers), dtype=torch.bool)
    with pytest.raises(eap_plugin.UsageError, match="on both clean and corrupt prompts, so faithfulness is undefined"):
        faithfulness(model, [replace(batch, corrupt=batch.clean)], LOGIT_DIFF, [keep])


def test_strongest_counts_edges() -> None:
    scores = eap_plugin.prune_scores(bridge(build("gpt2")), [Batch(*prompts(2, 6))])
    for fraction, count in ((0.0, 0), (0.001, 1), (0.1, 11), (1.0, scores.n_edges)):
        assert int(strongest(scores, fraction).sum()) == count
    with pytest.raises(eap_plugin.UsageError, match="between 0 and 1, got 1.5"):
        strongest(scores, 1.5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_half_precision_circuits(name: str, dtype: torch.dtype) -> None:
    batches = [Batch(*prompts(4, 6))]
    model = eap_plugin.wrap_model(bridge(build(name, dtype)))
    circuits = [strongest(eap_plugin.prune_scores(model, batches), fraction) for fraction in (1.0, 0.5, 0.0)]
    whole, half, nothing = faithfulness(model, batches, LOGIT_DIFF, circuits)
    full = eap_plugin.wrap_model(bridge(build(name)))
    assert (whole, nothing) == pytest.approx((1, 0), abs=0.1)
    assert half == pytest.approx(faithfulness(full, batches, LOGIT_DIFF, circuits)[1], abs=0.3)


def test_circuits_of_another_shape_or_kind_are_refused() -> None:
    batches = [Batch(*prompts(2, 6))]
    model = eap_plugin.wrap_model(bridge(build("llama")))
    scores = eap_plugin.prune_scores(model, batches)
    with pytest.raises(eap_plugin.UsageError, match=r"with q, k and v apart, got \[11, 7\]"):
        faithfulness(model, batches, LOGIT_DIFF, [strongest(scores.sum_qkv(), 0.5)])
    with pytest.raises(eap_plugin.UsageError, match="a circuit must be a boolean matrix"):
        faithfulness(model, batches, LOGIT_DIFF, [strongest(scores, 0.5).long()])
