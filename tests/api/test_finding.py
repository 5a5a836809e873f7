"""Found circuits: the smallest by evaluating all sizes, on prompts that made no score."""

from __future__ import annotations

import pytest
import torch

import eap_plugin
from eap_plugin.circuits.selection.base import Selected, Selection
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.results.prune_scores import PruneScores

WANTED = 0.9


@pytest.fixture(scope="module")
def model():
    return eap_plugin.load_model("ioi-gpt2", dtype="float64")


@pytest.fixture(scope="module")
def task(model):
    return eap_plugin.load_task("ioi", model, n_prompts=8, seed=5)


@pytest.fixture(scope="module")
def scores(model, task) -> PruneScores:
    return eap_plugin.prune_scores(model, task)


@pytest.mark.parametrize("method", ["top", "greedy"])
def test_it_is_the_smallest_on_held_out_prompts(model, task, scores, method) -> None:
    circuit = eap_plugin.find_circuit(model, task, scores, WANTED, method=method)
    size, found = circuit.metadata["selection"]["size"], circuit.metadata["found"]
    others = eap_plugin.held_out_task(task, model)
    curve = eap_plugin.evaluate(model, others, scores, sizes=range(1, size + 9), method=method, signed=False).points
    assert next(point.size for point in curve if point.faithfulness >= WANTED) == size
    assert found["n_larger_short"] == sum(point.faithfulness < WANTED for point in curve[size:])
    assert curve[size - 1].faithfulness == found["faithfulness"]
    alone = eap_plugin.evaluate(model, others, circuit)
    assert alone.faithfulness == pytest.approx(found["faithfulness"], abs=1e-12)
    assert list(alone.points[0].interval) == pytest.approx(found["interval"], abs=1e-12)
    assert (found["held_out"], found["n_prompts"], found["wanted"]) == (True, 8, WANTED)
    assert circuit == eap_plugin.select(scores, edges=size, method=method)


def test_the_scored_prompts_and_given_ones_can_be_judged_on(model, task, scores) -> None:
    same = eap_plugin.find_circuit(model, "ioi", scores, WANTED, same_prompts=True)  # loaded again as it was scored
    assert not same.metadata["found"]["held_out"]
    kept = eap_plugin.evaluate(model, task, same).faithfulness
    assert kept == pytest.approx(same.metadata["found"]["faithfulness"], abs=1e-12)
    given = eap_plugin.load_task("ioi", model, n_prompts=4, seed=77)
    circuit = eap_plugin.find_circuit(model, task.batch(), scores, WANTED, held_out=given, around=1)
    kept = eap_plugin.evaluate(model, given, circuit).faithfulness
    assert kept == pytest.approx(circuit.metadata["found"]["faithfulness"], abs=1e-12)


@pytest.mark.parametrize("level", ["node", "neuron"])
def test_circuits_of_nodes_and_neurons_are_found(model, task, level) -> None:
    scores = eap_plugin.prune_scores(model, task, level=level)
    circuit = eap_plugin.find_circuit(model, task, scores, WANTED, around=2)
    found = circuit.metadata["found"]
    assert found["faithfulness"] >= WANTED
    kept = eap_plugin.evaluate(model, eap_plugin.held_out_task(task, model), circuit).faithfulness
    assert kept == pytest.approx(found["faithfulness"], abs=1e-12)
    below = [value for size, value in found["measured"] if size < circuit.metadata["selection"]["size"]]
    assert max(below) < WANTED


class Nothing(Selection[None]):
    name = summary = reference = "nothing"
    options = type(eap_plugin.selections()["top"].options())

    def select(self, scores, size, signed, options):
        return Selected(torch.zeros(scores.matrix.shape, dtype=torch.bool))


def test_mistakes_are_told(model, task, scores) -> None:
    with pytest.raises(UsageError, match="faithfulness must be above 0 and at most 1, got 90"):
        eap_plugin.find_circuit(model, task, scores, 90)
    other = eap_plugin.load_task("ioi", model, n_prompts=8)
    with pytest.raises(UsageError, match=r"computed on other prompts \(ioi\) than these; give those as the task"):
        eap_plugin.find_circuit(model, other, scores)
    with pytest.raises(UsageError, match="give held_out or same_prompts, not both"):
        eap_plugin.find_circuit(model, task, scores, held_out="ioi", same_prompts=True)
    with pytest.raises(UsageError, match="8 of the held-out prompts were used"):  # loaded as the scored ones were
        eap_plugin.find_circuit(model, task, scores, held_out="ioi")
    with pytest.raises(UsageError, match="8 of the held-out prompts were used for the scores; leave these out"):
        eap_plugin.find_circuit(model, task, scores, held_out=task.batch())
    with pytest.raises(UsageError, match="batches have no further prompts; give others as held_out"):
        eap_plugin.find_circuit(model, task.batch(), scores)
    with pytest.raises(EapPluginError, match=r"no circuit of these scores has faithfulness 0\.9; choose a smaller"):
        eap_plugin.find_circuit(model, task, scores, method=Nothing())


def test_progress_counts_runs_over_all_rounds(model, task, scores) -> None:
    calls: list[tuple[int, int]] = []
    eap_plugin.find_circuit(model, task, scores, WANTED, around=1, progress=lambda *call: calls.append(call))
    assert [done for done, _ in calls] == list(range(1, len(calls) + 1))
    totals = [total for _, total in calls]
    assert totals == sorted(totals)
    assert len(set(totals)) > 1
    assert calls[-1][0] == calls[-1][1]
