"""Scores of a ``PatchableModel`` are AutoCircuit's own, run side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from auto_circuit.model_utils.micro_model_utils import MicroModel
from auto_circuit.model_utils.tracr_model_utils import get_tracr_model
from auto_circuit.prune_algos.edge_attribution_patching import edge_attribution_patching_prune_scores
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.utils.ablation_activations import src_ablations
from auto_circuit.utils.graph_utils import patch_mode, patchable_model, set_all_masks

import eap_plugin
from tests.support import golden_cases as golden
from tests.support.hooked import hooked_model
from tests.support.patchable import difference, loader, make_patchable, patchable

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}
Record = Callable[[str, str], None]
on_every_model = pytest.mark.parametrize(
    ("name", "dtype"), [(name, dtype) for name in golden.MODELS for dtype in TOLERANCE]
)


@on_every_model
def test_equals_edge_attribution_patching(name: str, dtype: str, record_property: Record) -> None:
    model, data = patchable(name, dtype), loader(name)
    found = eap_plugin.prune_scores(model, data)
    error = difference(found, edge_attribution_patching_prune_scores(model, data, None))
    record_property("AutoCircuit edge_attribution_patching", f"{error:.1e}")
    assert error <= TOLERANCE[dtype]


@on_every_model
def test_equals_mask_gradient_with_qkv_summed(name: str, dtype: str, record_property: Record) -> None:
    """The seed function cannot run on such a model; its faster twin can."""
    error = _from_mask_gradient(name, dtype, separate_qkv=False)
    record_property("AutoCircuit mask_gradient, qkv summed", f"{error:.1e}")
    assert error <= TOLERANCE[dtype]


@on_every_model
def test_equals_mask_gradient_at_each_position(name: str, dtype: str, record_property: Record) -> None:
    error = _from_mask_gradient(name, dtype, seq_len=16)
    record_property("AutoCircuit mask_gradient, positions", f"{error:.1e}")
    assert error <= TOLERANCE[dtype]


def _from_mask_gradient(name: str, dtype: str, **made: Any) -> float:
    model, data = patchable(name, dtype, **made), loader(name)
    found = eap_plugin.prune_scores(model, data)
    return difference(found, mask_gradient_prune_scores(model, data, None, "logit", "avg_diff", mask_val=0.0))


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("answer_diff", [False, True])
def test_several_answers(ragged: bool, answer_diff: bool) -> None:
    model, data = patchable("tiny_gpt2", "float64"), loader("tiny_gpt2", prefix="multi_", ragged=ragged)
    found = eap_plugin.prune_scores(model, data, answer_diff=answer_diff)
    want = edge_attribution_patching_prune_scores(model, data, None, answer_diff=answer_diff)
    assert difference(found, want) <= TOLERANCE["float64"]


def test_the_seed_function_has_one_total_for_all_positions() -> None:
    """With ``seq_len`` it writes the sum over positions at each of them; ours add up to that sum."""
    model, data = patchable("tiny_gpt2", "float64", seq_len=16), loader("tiny_gpt2", n_prompts=8)
    found = eap_plugin.prune_scores(model, data)
    want = edge_attribution_patching_prune_scores(model, data, None)
    assert all(torch.equal(x, x[:1].expand_as(x)) for x in want.values())
    assert difference(dict(found.sum_positions()), {k: x[0] for k, x in want.items()}) <= TOLERANCE["float64"]


def test_grouped_heads_have_a_reader_for_each_query_head() -> None:
    """They add up to the scores of the real key and value heads."""
    data = loader("tiny_llama")
    found = eap_plugin.prune_scores(patchable("tiny_llama", "float64"), data)
    real = eap_plugin.prune_scores(hooked_model("tiny_llama", "float64"), data)
    for slot in "kv":
        of_query_heads = found[f"blocks.1.hook_{slot}_input"]
        assert of_query_heads.shape == (4, 6)
        assert not torch.allclose(of_query_heads[0], of_query_heads[1])
        torch.testing.assert_close(of_query_heads.unflatten(0, (2, 2)).sum(1), real[f"blocks.1.hook_{slot}_input"])


@pytest.mark.parametrize("name", ["tiny_llama", "tiny_parallel"])
def test_the_model_stays_as_it_was(name: str) -> None:
    model, data = patchable(name, "float32"), loader(name)
    plain = eap_plugin.prune_scores(model, data)
    set_all_masks(model, 0.25)
    model.train()
    model.wrapped_model.blocks[1].eval()
    batch = next(iter(data))
    flags = dict(vars(model.cfg))
    training = [m.training for m in model.modules()]
    graded = [p.requires_grad for p in model.parameters()]
    with patch_mode(model, src_ablations(model, batch.corrupt)):
        before = model(batch.clean)
        found = eap_plugin.prune_scores(model, data)
        assert all(wrapper.patch_mode for wrapper in model.wrappers)
        assert torch.equal(model(batch.clean), before)
    assert found == plain
    assert not any(wrapper.patch_mode for wrapper in model.wrappers)
    assert all(bool((mask == 0.25).all()) and mask.grad is None for mask in model.patch_masks.values())
    assert dict(vars(model.cfg)) == flags
    assert [m.training for m in model.modules()] == training
    assert [p.requires_grad for p in model.parameters()] == graded
    assert all(not point.fwd_hooks for point in model.wrapped_model.hook_dict.values())


def test_changed_weights_are_seen() -> None:
    model, data = patchable("tiny_llama", "float64"), loader("tiny_llama", n_prompts=8)
    wrapped = eap_plugin.wrap_model(model)
    before = eap_plugin.prune_scores(wrapped, data)
    with torch.no_grad():
        model.wrapped_model.blocks[1].attn._W_K.mul_(1.5)
    after = eap_plugin.prune_scores(wrapped, data)
    assert after != before
    assert difference(after, edge_attribution_patching_prune_scores(model, data, None)) <= TOLERANCE["float64"]


def test_refusals() -> None:
    data = loader("tiny_gpt2", n_prompts=8)

    def fails(model: Any, says: str, **options: Any) -> None:
        with pytest.raises(eap_plugin.UsageError, match=says) as raised:
            eap_plugin.prune_scores(model, data, **options)
        assert "\n" not in str(raised.value)

    fails(patchable("tiny_gpt2", "float32", factorized=False), "make it with factorized=True")
    fails(patchable("tiny_gpt2", "float32", slice_output=None), 'make it with slice_output="last_seq"')
    fails(patchable("tiny_gpt2", "float32", slice_output="not_first_seq"), 'make it with slice_output="last_seq"')
    fails(patchable("tiny_gpt2", "float32", seq_len=9), "made for prompts of 9 tokens .seq_len., but these have 16")
    by_position = patchable("tiny_gpt2", "float32", seq_len=16)
    fails(by_position, "seq_len=16, which needs positions=True, got False", positions=False)
    fails(by_position, "random has no option 'positions'", algorithm="random")
    summed = patchable("tiny_gpt2", "float32", separate_qkv=False)
    fails(summed, "separate_qkv=False, which needs qkv=summed, got 'separate'", qkv="separate")


def test_models_that_are_no_transformers() -> None:
    """AutoCircuit's own toy model has no heads that attend; its compiled ones attend in both directions."""
    micro = patchable_model(MicroModel(), factorized=True, slice_output="last_seq")
    with pytest.raises(eap_plugin.UsageError, match="wraps a MicroModel; wrap a HookedTransformer"):
        eap_plugin.wrap_model(micro)
    compiled = make_patchable(get_tracr_model("reverse", "cpu")[0])
    with pytest.raises(eap_plugin.EapPluginError, match="need causal attention"):
        eap_plugin.wrap_model(compiled)
