"""Gradient methods on a ``HookedTransformer`` give AutoCircuit's and EAP-IG's recorded outputs, on every model."""

from __future__ import annotations

import pytest
import torch

import eap_plugin
from tests.support import golden_cases as golden
from tests.support import golden_eap_ig as eap_ig
from tests.support.hooked import hooked_model


@pytest.mark.parametrize(("name", "case", "dtype"), golden.runs(golden.MODELS))
def test_equals_autocircuit(name: str, case: str, dtype: str) -> None:
    config = golden.config(name)["config"]
    scores = golden.scores(hooked_model(name, dtype), golden.CASES[case], *golden.prompts(name, golden.CASES[case]))
    groups = config["n_key_value_heads"] or config["n_heads"]
    error = golden.worst_error(scores, golden.recorded(name, case, dtype), groups, config["n_heads"])
    assert error <= golden.TOLERANCE[dtype]


@pytest.mark.parametrize(("name", "case", "dtype"), eap_ig.runs(eap_ig.MODELS))
def test_equals_eap_ig(name: str, case: str, dtype: str) -> None:
    scores = golden.scores(hooked_model(name, dtype), eap_ig.CASES[case], *golden.prompts(name, eap_ig.CASES[case]))
    assert eap_ig.worst_error(scores, name, case, dtype) <= golden.TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_parallel"])
def test_flags_are_put_aside_and_put_back(name: str) -> None:
    """Flags that split or repeat inputs change neither the scores nor, afterwards, themselves."""
    spec = golden.CASES["eap_seed"]
    data = golden.batches(name, spec)
    model = hooked_model(name, "float32")
    plain = eap_plugin.prune_scores(model, data)
    flags = {
        "use_attn_result": True,
        "use_split_qkv_input": True,
        "use_hook_mlp_in": True,
        "ungroup_grouped_query_attention": True,
    }
    for flag, value in flags.items():
        setattr(model.cfg, flag, value)
    model.train()
    model.blocks[1].eval()
    model.W_E.requires_grad_(False)
    flagged = eap_plugin.prune_scores(model, data)
    torch.testing.assert_close(flagged.matrix, plain.matrix)
    assert {flag: getattr(model.cfg, flag) for flag in flags} == flags
    assert model.training
    assert not model.blocks[1].training
    assert not model.W_E.requires_grad
    assert model.W_U.requires_grad
    assert all(not point.fwd_hooks for point in model.hook_dict.values())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["tiny_ln", "tiny_llama", "tiny_parallel"])
def test_exact_patching_equals_eapig(name: str) -> None:
    (batch,) = golden.batches(name, golden.Case())
    scores = eap_plugin.prune_scores(hooked_model(name, "float64"), [batch], algorithm="exact")
    assert golden.worst_eapig(scores, golden.eapig(name, "exact_fresh", scores.graph)) <= 1e-9


@pytest.mark.parametrize("case", ["ifr", "ifr_ragged"])
def test_information_flow_routes_equal_eapig(case: str) -> None:
    (batch,) = golden.batches("tiny_llama", golden.Case())
    batch = golden.ragged("tiny_llama") if case == "ifr_ragged" else batch
    model = hooked_model("tiny_llama", "float64")
    scores = eap_plugin.prune_scores(model, [batch], algorithm="information-flow-routes")
    want = {edge: values[:1] for edge, values in golden.eapig("tiny_llama", case, scores.graph).items()}
    assert golden.worst_eapig(scores, want) <= 1e-9
