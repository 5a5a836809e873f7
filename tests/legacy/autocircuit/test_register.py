"""Algorithms of this package used by AutoCircuit's own programs: its runs, metrics, ROC curves and plots."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from auto_circuit.metrics.official_circuits.measure_roc import measure_task_roc
from auto_circuit.metrics.official_circuits.roc_plot import task_roc_plot
from auto_circuit.metrics.prune_metrics.measure_prune_metrics import measure_prune_metrics, measurement_figs
from auto_circuit.metrics.prune_metrics.prune_metrics import CLEAN_KL_DIV_METRIC, LOGIT_DIFF_METRIC
from auto_circuit.prune_algos.prune_algos import (
    LOGIT_DIFF_GRAD_PRUNE_ALGO,
    PRUNE_ALGO_DICT,
    RANDOM_PRUNE_ALGO,
    PruneAlgo,
    run_prune_algos,
)
from auto_circuit.tasks import TASK_DICT, Task
from auto_circuit.types import AblationType, PatchType
from auto_circuit.utils.tensor_ops import desc_prune_scores, prune_scores_threshold

import eap_plugin
from eap_plugin.integrations.auto_circuit import prune_algo, register, unregister
from tests.support.patchable import difference, loader, patchable

THEIRS = "Edge Answer Logit Diff Gradient At Clean"


@pytest.fixture
def registered() -> Iterator[list[str]]:
    yield register()
    unregister()


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> Task:
    """Make an AutoCircuit task whose true circuit is the half of the edges that lead to MLPs and logits."""
    model, data = patchable("tiny_gpt2", "float32"), loader("tiny_gpt2")
    out = Task("tiny", "Tiny", 8, 2, False, model, "none", __init_complete__=True)
    out._model, out._train_loader, out._test_loader = model, data, data
    out._true_edges = {edge for edge in model.edges if edge.dest.head_idx is None}
    monkeypatch.setitem(TASK_DICT, out.key, out)
    return out


def test_every_algorithm_is_registered(registered: list[str], task: Task) -> None:
    assert registered == list(eap_plugin.algorithms())
    before = dict(PRUNE_ALGO_DICT)
    assert register() == registered
    assert all(PRUNE_ALGO_DICT[key] is algo for key, algo in before.items())
    found = run_prune_algos([task], [PRUNE_ALGO_DICT[name] for name in registered])[task.key]
    assert list(found) == registered
    for scores in found.values():
        assert type(scores) is dict
        assert list(scores) == list(task.model.patch_masks)
        for module, mask in task.model.patch_masks.items():
            assert scores[module].shape == mask.shape
            assert scores[module].dtype == mask.dtype
            assert scores[module].is_contiguous()
            assert not scores[module].requires_grad


def test_programs_of_autocircuit_give_the_same(registered: list[str], task: Task) -> None:
    algos = [PRUNE_ALGO_DICT["eap"], LOGIT_DIFF_GRAD_PRUNE_ALGO, RANDOM_PRUNE_ALGO, PRUNE_ALGO_DICT["random"]]
    scores = run_prune_algos([task], algos)
    ours, theirs = scores[task.key]["eap"], scores[task.key][THEIRS]
    assert difference(ours, theirs) <= 1e-5
    assert torch.allclose(prune_scores_threshold(ours, 20), prune_scores_threshold(theirs, 20))
    assert (desc_prune_scores(ours) >= prune_scores_threshold(ours, 20)).sum() == 20

    metrics = [CLEAN_KL_DIV_METRIC, LOGIT_DIFF_METRIC]
    measured = measure_prune_metrics(
        [AblationType.RESAMPLE], metrics, scores, PatchType.TREE_PATCH, test_edge_counts=[0, 1, 20, 50, 110]
    )[AblationType.RESAMPLE]
    for metric in metrics:
        points = measured[metric.key][task.key]
        torch.testing.assert_close(torch.tensor(points["eap"]), torch.tensor(points[THEIRS]))
        assert points["random"] != points["eap"]
    assert measurement_figs({AblationType.RESAMPLE: measured}, auc_plots=True)

    curves = {key: measure_task_roc(task.model, task.true_edges, found) for key, found in scores[task.key].items()}
    assert curves["eap"] == curves[THEIRS]
    assert curves["eap"] != curves["random"]
    assert {trace.name for trace in task_roc_plot({task.key: curves}).data} == {"eap", "EAP", "Random", "random"}


def test_nothing_is_overridden(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(PRUNE_ALGO_DICT)
    other = PruneAlgo("random", "Another", RANDOM_PRUNE_ALGO.func)
    monkeypatch.setitem(PRUNE_ALGO_DICT, "random", other)
    with pytest.raises(eap_plugin.EapPluginError, match=r"another 'random' already; .*prune_algo\('random', key="):
        register()
    assert list(PRUNE_ALGO_DICT) == [*before, "random"]
    assert PRUNE_ALGO_DICT["random"] is other
    unregister()
    assert PRUNE_ALGO_DICT["random"] is other


def test_unregister_takes_out_ours_alone() -> None:
    before = dict(PRUNE_ALGO_DICT)
    register()
    assert len(PRUNE_ALGO_DICT) > len(before)
    unregister()
    assert list(PRUNE_ALGO_DICT) == list(before)
    unregister()


def test_an_algorithm_with_options(task: Task) -> None:
    algo = prune_algo("eap", key="eap, right answers", metric="logprob_diff", answer_diff=False)
    assert (algo.key, algo.short_name) == ("eap, right answers", "eap, right answers")
    found = run_prune_algos([task], [algo])[task.key][algo.key]
    want = eap_plugin.prune_scores(task.model, task.train_loader, metric="logprob_diff", answer_diff=False)
    assert difference(found, want) == 0

    with pytest.raises(eap_plugin.UsageError, match="unknown eap option 'answer_dif'; did you mean 'answer_diff'"):
        prune_algo("eap", answer_dif=False)
    with pytest.raises(eap_plugin.UsageError, match="unknown algorithm 'aep'; did you mean 'eap'"):
        prune_algo("aep")
    with pytest.raises(eap_plugin.UsageError, match="AutoCircuit takes scores of edges"):
        prune_algo("eap", level="node").func(task.model, task.train_loader, None)


def test_half_precision_masks(task: Task) -> None:
    """Scores are float32, AutoCircuit's are of its masks' dtype."""
    model: Any = patchable("tiny_gpt2", "bfloat16")
    scores = prune_algo("eap").func(model, task.train_loader, None)
    assert {x.dtype for x in scores.values()} == {torch.bfloat16}
    assert eap_plugin.prune_scores(model, task.train_loader).matrix.dtype == torch.float32


def test_without_autocircuit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "auto_circuit.prune_algos.prune_algos", None)
    with pytest.raises(eap_plugin.EapPluginError, match=r'pip install auto-circuit==1.0.1 "transformer-lens<4" attrs'):
        register()
