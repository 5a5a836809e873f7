"""Exact patching against a loop of patched passes on plain models, against patched runs, and against EAP's limit."""

from __future__ import annotations

from typing import Any

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.algorithm.gradient.test_eap_oracle import MODELS, worst
from tests.interventions.test_edge_patching import patched_metric
from tests.oracle.circuits import edge_effects
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.support import golden_cases as golden
from tests.support.bridges import bridge
from tests.support.golden_models import MAKERS
from tests.support.passes import assert_declared
from tests.support.zoo import ARCHITECTURES, build, prompts

pytestmark = pytest.mark.exhaustive

BACKENDS = {"transformer_lens": bridge, "nnsight": nnsight.NNsight}


def exact(model: Any, *batches: Batch, **options: Any) -> Any:
    return eap_plugin.prune_scores(model, list(batches), algorithm="exact", **options)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", MODELS)
def test_every_edge(name: str, backend: str) -> None:
    tokens = prompts(3, 6, seed=1)
    with InFloat64():
        want = edge_effects(Oracle(build(name, torch.float64), name, tokens))
        scores = exact(BACKENDS[backend](build(name, torch.float64)), Batch(*tokens))
    assert worst(scores, want) <= 1e-12


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "gptj"])
def test_zero_ablation(name: str) -> None:
    tokens = prompts(4, 7)
    want = edge_effects(Oracle(build(name), name, tokens, "zero"))
    assert worst(exact(bridge(build(name)), Batch(*tokens), ablation="zero"), want) <= 1e-5


@pytest.mark.parametrize("per_pass", [1, 7, 1000])
def test_edges_share_passes_without_meeting(per_pass: int) -> None:
    """Nor do padded prompts, several pieces, or batches."""
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 1, 1, 1, 1, 1]]).bool()
    batches = Batch(*prompts(3, 6), attention_mask=mask), Batch(*prompts(2, 5, seed=1))
    model = bridge(build("llama"))
    together = exact(model, *batches, edges_per_pass=per_pass, batch_size=2)
    apart = sum(exact(model, batch).matrix for batch in batches)
    torch.testing.assert_close(together.matrix, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_nodes_are_all_of_a_writers_edges_at_once(name: str, backend: str) -> None:
    batch = Batch(*prompts(3, 6))
    model = eap_plugin.wrap_model(BACKENDS[backend](build(name)))
    nodes = exact(model, batch, level="node")
    for row, source in enumerate(model.graph.sources):
        patch = torch.zeros(len(model.graph.sources), len(model.graph.readers))
        plain = patched_metric(model, batch, patch)
        patch[row] = 1
        assert float(nodes[source]) == pytest.approx(plain - patched_metric(model, batch, patch), abs=3e-5)


def test_kl_is_how_far_a_patch_moves_the_predictions() -> None:
    tokens = prompts(4, 7)
    plain = build("gpt2")
    clean = plain(tokens[0]).logits[:, -1].log_softmax(-1).detach()

    def minus_kl(logits: torch.Tensor) -> torch.Tensor:
        return -(clean.exp() * (clean - logits.log_softmax(-1))).sum(-1)

    want = edge_effects(Oracle(plain, "gpt2", tokens, metric=minus_kl))
    scores = exact(bridge(build("gpt2")), Batch(*tokens), metric="kl")
    assert worst(scores, want) <= 1e-4
    assert float(scores.matrix.min()) >= -1e-5


@pytest.mark.parametrize("level", ["edge", "node"])
@pytest.mark.parametrize("ablation", ["corrupt", "zero", "mean"])
def test_declared_passes_are_counted(level: str, ablation: str) -> None:
    assert_declared("exact", level=level, ablation=ablation, edges_per_pass=5)


@pytest.mark.parametrize(("model", "limit"), [("tiny_gpt2", 1e-9), ("tiny_llama_hf", 1e-6)])
def test_equals_eapig(model: str, limit: float) -> None:
    """EAP-IG scores minus the metric, and the change of it: patched less clean of minus is clean less patched.

    Not where it has several k or v edges for one of a group's: a patch of all at once is not the sum of single ones.
    """
    (batch,) = golden.batches(model, golden.Case())
    with InFloat64():
        wrapped = eap_plugin.wrap_model(bridge(MAKERS[model](model)))
        scores, zero = exact(wrapped, batch), exact(wrapped, batch, ablation="zero")
    assert golden.worst_eapig(scores, golden.eapig(model, "exact_fresh", wrapped.graph)) <= limit
    want = golden.eapig(model, "exact_zero", wrapped.graph)
    if model == "tiny_gpt2":  # EAP-IG's input leaves positions in when it is zeroed
        want = {edge: values for edge, values in want.items() if not edge.startswith("input")}
    assert golden.worst_eapig(zero, want) <= 1e-6  # kept in float32 there
