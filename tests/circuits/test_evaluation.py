"""Evaluations as a whole: curves, intervals, random circuits, files, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin import Batch, Circuit, EapPluginError, Evaluation, UsageError
from eap_plugin.circuits.areas import MIB_SIZES, circuit_model_distance, circuit_performance_ratio
from eap_plugin.circuits.evaluation import program
from eap_plugin.interventions.circuit_patch import CircuitPatch
from eap_plugin.model.edge_matrix import ungrouped
from eap_plugin.model.residual_model import ResidualModel
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

BATCHES = [Batch(*prompts(5, 6)), Batch(*prompts(3, 7, seed=1))]


@pytest.fixture(scope="module")
def model() -> ResidualModel:
    return eap_plugin.wrap_model(bridge(build("llama")))


@pytest.fixture(scope="module")
def scores(model: ResidualModel) -> eap_plugin.PruneScores:
    return eap_plugin.prune_scores(model, BATCHES)


def test_areas_of_known_curves() -> None:
    straight = torch.tensor(MIB_SIZES, dtype=torch.float64)
    assert float(circuit_performance_ratio(MIB_SIZES, torch.ones(10).double())) == pytest.approx(0.999)
    assert float(circuit_performance_ratio(MIB_SIZES, straight)) == pytest.approx((1 - 1e-6) / 2)
    assert float(circuit_model_distance(MIB_SIZES, straight)) == pytest.approx(0.999**2 / 2)
    assert float(circuit_model_distance((0, 1), torch.tensor([0.0, 2.0]))) == 1


def test_batches_and_their_size_do_not_matter(model: ResidualModel, scores: eap_plugin.PruneScores) -> None:
    """Every prompt counts the same, whichever batch it is in."""
    whole = eap_plugin.evaluate(model, BATCHES, scores)
    parts = eap_plugin.evaluate(model, BATCHES, scores, batch_size=2)
    apart = [eap_plugin.evaluate(model, [batch], scores) for batch in BATCHES]
    for point, same, *others in zip(whole.points, parts.points, *(each.points for each in apart), strict=True):
        torch.testing.assert_close(point.metric, same.metric, rtol=0, atol=1e-5)
        torch.testing.assert_close(point.metric, torch.cat([other.metric for other in others]), rtol=0, atol=1e-5)
    assert [point.signed for point in whole.points] == [True] * 10 + [False] * 10
    assert whole.cpr is not None
    assert whole.cmd is not None
    assert parts.cpr is not None
    assert parts.cpr == pytest.approx(whole.cpr, abs=1e-4)


def test_intervals_are_those_of_resampled_prompts(model: ResidualModel, scores: eap_plugin.PruneScores) -> None:
    found = eap_plugin.evaluate(model, BATCHES, eap_plugin.select(scores, fraction=0.4), resamples=4000)
    (point,) = found.points
    drawn = torch.randint(8, (4000, 8), generator=torch.Generator().manual_seed(7))
    kept, clean, empty = (values[drawn].mean(1) for values in (point.metric, found.clean, found.empty))
    want = ((kept - empty) / (clean - empty)).quantile(torch.tensor([0.025, 0.975]).double())
    assert point.interval is not None
    assert point.interval.low < point.faithfulness < point.interval.high
    assert list(point.interval) == pytest.approx(want.tolist(), rel=0.1)


def test_random_circuits_have_the_same_size(model: ResidualModel, scores: eap_plugin.PruneScores) -> None:
    circuit = eap_plugin.select(scores, edges=30)
    found = eap_plugin.evaluate(model, BATCHES, circuit, random=20)
    again, other = (eap_plugin.evaluate(model, BATCHES, circuit, random=20, seed=seed) for seed in (0, 1))
    (point,) = found.points
    assert len(set(point.random_faithfulness.tolist())) > 10
    assert torch.equal(point.random_faithfulness, again.points[0].random_faithfulness)
    assert not torch.equal(point.random_faithfulness, other.points[0].random_faithfulness)
    assert point.random_band is not None
    assert point.random_band.low < float(point.random_mean or 0) < point.random_band.high


def test_summed_and_ungrouped_readers(model: ResidualModel, scores: eap_plugin.PruneScores) -> None:
    """Circuits on other graphs of the same model that have the same edges give the same."""
    circuit = eap_plugin.select(scores.sum_qkv(), fraction=0.4)
    edges = torch.zeros(scores.matrix.shape, dtype=torch.bool)
    for name in circuit.edge_names:
        writer, reader = name.split("->")
        layer, _, group = reader.partition(".g")
        parts = [f"h{2 * int(group)}<q>", f"h{2 * int(group) + 1}<q>", f"h{group}<k>", f"h{group}<v>"] if group else []
        for one in [f"{layer}.{part}" for part in parts] or [reader]:
            edges[scores.graph.edge(f"{writer}->{one}")] = True
    plain = Circuit(scores.graph, edges)
    assert ungrouped(scores.graph) != scores.graph
    found = eap_plugin.evaluate(model, BATCHES, [circuit, plain, plain.ungrouped()], resamples=0)
    assert torch.equal(found.points[0].metric, found.points[1].metric)
    assert torch.equal(found.points[0].metric, found.points[2].metric)


def test_a_saved_evaluation_is_the_same(model: ResidualModel, scores: eap_plugin.PruneScores, tmp_path: Path) -> None:
    found = eap_plugin.evaluate(model, BATCHES, scores, random=2, ablation="mean")
    found.save(tmp_path / "eval.json")
    again = Evaluation.load(tmp_path / "eval.json")
    assert json.dumps(again.to_dict()) == json.dumps(found.to_dict())
    assert again.table() == found.table()
    for text in ("[]", '{"eap_plugin": {"kind": "circuit"}}', '{"eap_plugin": {"kind": "evaluation", "schema": 1}}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(UsageError, match="is not an? (complete )?evaluation"):
            Evaluation.load(tmp_path / "other.json")


def test_a_metric_of_the_mean_alone_has_no_intervals(model: ResidualModel, scores: eap_plugin.PruneScores) -> None:
    def mean_logit(logits: Tensor, batch: Batch) -> Tensor:
        return logits.gather(1, batch.answers).mean()

    found = eap_plugin.evaluate(model, BATCHES, eap_plugin.select(scores, fraction=0.4), metric=mean_logit)
    plain = eap_plugin.evaluate(model, BATCHES, eap_plugin.select(scores, fraction=0.4), metric="answer_logit")
    assert found.faithfulness == pytest.approx(plain.faithfulness, abs=1e-5)
    assert found.points[0].interval is None
    assert "gives only a mean" in found.table()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2"])
def test_half_precision(name: str, dtype: torch.dtype) -> None:
    full, half = bridge(build(name)), bridge(build(name, dtype))
    scores = eap_plugin.prune_scores(full, BATCHES[:1])
    circuits = [eap_plugin.select(scores, fraction=fraction) for fraction in (0.3, 0.8)]
    want, found = (eap_plugin.evaluate(each, BATCHES[:1], circuits).points for each in (full, half))
    assert [p.faithfulness for p in found] == pytest.approx([p.faithfulness for p in want], abs=0.2)


def test_what_is_not_patched_as_it_should_be_is_not_reported(
    model: ResidualModel, scores: eap_plugin.PruneScores, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Careless(CircuitPatch):
        def _on_mlp_out(self, layer: int, value: Tensor) -> Tensor | None:
            return CircuitPatch._on_mlp_out(self, layer, value * 1.1)

    monkeypatch.setattr(program, "CircuitPatch", Careless)
    with pytest.raises(EapPluginError, match="does not give the logits of the model on the clean prompts: they differ"):
        eap_plugin.evaluate(model, BATCHES, scores)


def test_mistakes_are_told(model: ResidualModel, scores: eap_plugin.PruneScores) -> None:
    same = [replace(batch, corrupt=batch.clean) for batch in BATCHES]
    with pytest.raises(UsageError, match="both for the model and for the empty circuit, so faithfulness is undefined"):
        eap_plugin.evaluate(model, same, scores)
    other = eap_plugin.wrap_model(bridge(build("gpt2")))
    with pytest.raises(UsageError, match="the circuit has another graph than test-model"):
        eap_plugin.evaluate(other, BATCHES, eap_plugin.select(scores, edges=20))
    neurons = torch.ones(len(scores.graph.sources), 3, dtype=torch.bool)
    with pytest.raises(UsageError, match="have 3 neurons each, but those of test-model have"):
        eap_plugin.evaluate(model, BATCHES, Circuit(scores.graph, scores.is_edge, neurons))
    with pytest.raises(UsageError, match="give a circuit, a sequence of circuits, or scores"):
        eap_plugin.evaluate(model, BATCHES, [])
    with pytest.raises(UsageError, match="apply to scores only; leave out ratio"):
        eap_plugin.evaluate(model, BATCHES, eap_plugin.select(scores, edges=20), ratio=0.5)
    with pytest.raises(UsageError, match="to take means only, but the ablation is zero"):
        eap_plugin.evaluate(model, BATCHES, scores, ablation="zero", ablation_data=BATCHES)
