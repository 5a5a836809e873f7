"""ACDC against the same greedy search over patched passes of plain models."""

from __future__ import annotations

from typing import Any

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.oracle.circuits import removed
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.passes import assert_declared
from tests.support.zoo import build, prompts

pytestmark = pytest.mark.exhaustive

TOKENS = prompts(2, 5)


def acdc(model: Any, *batches: Batch, **options: Any) -> eap_plugin.PruneScores:
    return eap_plugin.prune_scores(model, list(batches), algorithm="acdc", **options)


@pytest.mark.parametrize(("name", "wrap"), [("gpt2", bridge), ("gemma2", bridge), ("gptj", nnsight.NNsight)])
def test_the_same_edges_go(name: str, wrap: Any) -> None:
    with InFloat64():
        scores = acdc(wrap(build(name, torch.float64)), Batch(*TOKENS), thresholds=1, highest=0.05)
        gone = removed(Oracle(build(name, torch.float64), name, TOKENS), 0.05)
    assert 10 < len(gone) < scores.n_edges - 10
    assert {f"{u}->{v}" for u, v in gone} == {e.name for e in scores.top(scores.n_edges) if e.score < 0.06}


def test_a_score_is_the_smallest_threshold_at_which_an_edge_goes() -> None:
    model = bridge(build("llama"))
    sweep = acdc(model, Batch(*TOKENS), thresholds=3, lowest=0.003, highest=0.3)
    want = torch.full_like(sweep.matrix, 0.6)
    for threshold in (0.3, 0.03, 0.003):
        alone = acdc(model, Batch(*TOKENS), thresholds=1, highest=threshold)
        want[alone.matrix < 1.5 * threshold] = threshold
    torch.testing.assert_close(sweep.matrix, want * sweep.is_edge)
    assert len(set(sweep.matrix[sweep.is_edge].tolist())) == 4


def test_the_size_of_pieces_does_not_matter() -> None:
    model, batches = bridge(build("llama")), [Batch(*prompts(4, 5, seed=3)), Batch(*TOKENS)]
    options = {"thresholds": 2, "metric": "kl", "lowest": 0.02}
    torch.testing.assert_close(
        acdc(model, *batches, batch_size=2, **options).matrix, acdc(model, *batches, **options).matrix
    )


def test_thresholds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(eap_plugin.UsageError, match="'lowest' must be at most 'highest', got 2.0 and 1.0"):
        acdc(bridge(build("gpt2")), Batch(*TOKENS), lowest=2.0)


@pytest.mark.parametrize("ablation", ["corrupt", "zero", "mean-per-position"])
def test_declared_passes_are_counted(ablation: str) -> None:
    assert_declared("acdc", thresholds=1, ablation=ablation)
