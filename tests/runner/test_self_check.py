"""The self-check passes on models that are understood, and says where it fails on those that are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import nnsight
import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import eap_plugin
from eap_plugin.backend.transformer_lens.original import original_model
from eap_plugin.data.batch import Batch
from tests.support.bridges import bridge
from tests.support.zoo import FAMILIES, build, prompts

TINY_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 32}
GROUPED = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "pad_token_id": 2,
}
GEMMA = {**GROUPED, "sliding_window": 3, "layer_types": ["sliding_attention", "full_attention"]}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_passes(name: str, dtype: torch.dtype) -> None:
    report = eap_plugin.check(bridge(build(name, dtype)))
    assert report.ok, report.worst
    gradients = 1 if eap_plugin.wrap_model(bridge(build(name))).graph.parallel else 2
    assert len(report.rows) == 2 * (7 + gradients) + 3
    assert report.rows[-1].what == "logits"
    assert not report.unchecked


def broken(how: str) -> Any:
    """Make a model that does not compute what its parts add up to."""
    model = bridge(build("gpt2"))
    block = model.blocks[1]
    if how == "a block adds something of its own":
        block.hook_in.add_hook(lambda value, hook: value + 0.01)
    elif how == "attention reads something else":
        block.attn.hook_in.add_hook(lambda value, hook: value * 1.01)
    else:
        block.mlp.hook_in.add_hook(lambda value, hook: value.roll(1, dims=-1))
    return model


@pytest.mark.parametrize(
    ("how", "where"),
    [
        ("a block adds something of its own", "layer 1, writers reaching attention"),
        ("attention reads something else", "layer 1, reader q"),
        ("the MLP reads something else", "layer 1, reader mlp"),
    ],
)
def test_refuses_and_says_where(how: str, where: str) -> None:
    model = broken(how)
    assert not eap_plugin.check(model).ok
    with pytest.raises(
        eap_plugin.EapPluginError, match=rf"{where}: residue [0-9.e-]+, allowed 0.0001.*none were computed"
    ):
        eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))])


BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}


def gated() -> Any:
    """Laguna, each of whose heads has a gate that reads what attention reads."""
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    }
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "intermediate_size": 48}
    return from_config("laguna", **sizes, **experts, pad_token_id=2)


def from_config(model_type: str, **settings: Any) -> Any:
    config = CONFIG_MAPPING[model_type](vocab_size=64, **settings)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("backend", BACKENDS)
def test_refuses_what_else_reads_the_residual_stream(backend: str) -> None:
    """Every value in the forward pass is as the graph says; only the gradient tells."""
    report = eap_plugin.check(BACKENDS[backend](gated()))
    assert {row.what for row in report.failing} == {"gradient reaching attention"}
    with pytest.raises(
        eap_plugin.EapPluginError,
        match=r"layer 0, gradient reaching attention: .*something besides q, k, v, the MLP and the logits reads the "
        r"residual stream: model\.layers\.0\.self_attn\.g_proj; it is not in the graph",
    ):
        eap_plugin.prune_scores(BACKENDS[backend](gated()), [Batch(*prompts(2, 5))])


@pytest.mark.parametrize("read", ["attention", "the MLP", "the logits"])
def test_finds_gradients_from_anywhere(read: str) -> None:
    """Something that adds nothing forwards, but sends a gradient back, in front of each kind of reader."""
    model = build("llama")

    def beside(module: Any, args: Any, output: Any) -> Any:
        return output + 0.1 * (args[0] - args[0].detach())

    last = model.model.layers[1]
    if read == "the logits":
        block = last.forward
        last.forward = lambda *args, **kwargs: twice_backwards(block(*args, **kwargs))
    else:
        norm = last.input_layernorm if read == "attention" else last.post_attention_layernorm
        norm.register_forward_hook(beside)
    failing = eap_plugin.check(nnsight.NNsight(model)).failing
    assert [(row.layer, row.what) for row in failing] == [(1, f"gradient reaching {read}")]


def twice_backwards(stream: torch.Tensor) -> torch.Tensor:
    return stream + (stream - stream.detach())


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3", "gpt_neox", "falcon", "mixtral"])
def test_the_original_model_is_found_in_a_bridge(name: str) -> None:
    """Its logits, to the last bit where the family's own forward pass is not patched by TransformerLens."""
    tokens = prompts(2, 6)[0]
    with torch.no_grad():
        expected = build(name)(tokens, use_cache=False).logits
        found = original_model(bridge(build(name)))(tokens, use_cache=False).logits
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 if name == "falcon" else 0)


class Adapter(torch.nn.Module):
    """A low-rank adapter on a projection, whose base weight is what TransformerLens splits."""

    def __init__(self, base: Any) -> None:
        super().__init__()
        self.base, self.weight, self.bias, self.nf = base, base.weight, base.bias, base.nf
        self.lora_A = torch.nn.Parameter(0.3 * torch.randn(32, 2))
        self.lora_B = torch.nn.Parameter(0.3 * torch.randn(2, 96))

    def forward(self, x: Any) -> Any:
        return self.base(x) + x @ self.lora_A @ self.lora_B


def adapted() -> Any:
    model = build("gpt2")
    torch.manual_seed(0)
    for block in model.transformer.h:
        block.attn.c_attn = Adapter(block.attn.c_attn)
    return model


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (lambda: from_config("gpt2", **TINY_GPT, scale_attn_weights=False), "use the backend nnsight"),
        (adapted, "merge the adapter into the weights"),
    ],
)
def test_refuses_a_bridge_that_computes_another_function(make: Callable[[], Any], advice: str) -> None:
    """With both numbers: the logit that differs most, less its prompt's mean, by the bridge and by the plain model."""
    tokens = torch.randint(64, (2, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = [m(tokens) for m in (bridge(make()), lambda x: make()(x, use_cache=False).logits)]
    report = eap_plugin.check(bridge(make()))
    assert [row.what for row in report.failing] == ["logits"]
    with pytest.raises(eap_plugin.EapPluginError, match=f"computes a different function; {advice}") as caught:
        report.raise_if_failed()
    here, there = (x - x.mean(-1, keepdim=True) for x in logits)
    said = re.search(r"gives a logit of (\S+) where the GPT2LMHeadModel in it gives (\S+),", str(caught.value))
    assert said is not None
    differences = torch.stack([(here - float(said[1])).abs(), (there - float(said[2])).abs()]).amax(0)
    assert differences.min() <= 2e-3


def test_the_original_model_is_found_after_nnsight_has_wrapped_it() -> None:
    model = adapted()
    nnsight.NNsight(model)
    assert [row.what for row in eap_plugin.check(bridge(model)).failing] == ["logits"]


def test_nnsight_around_the_model_in_a_bridge() -> None:
    model = build("gpt2")
    bridge(model)
    with pytest.raises(eap_plugin.EapPluginError, match="is in a TransformerBridge.*pass the bridge itself"):
        eap_plugin.wrap_model(nnsight.NNsight(model))


def test_says_where_logits_cannot_be_compared() -> None:
    folded = bridge(build("gpt2"))
    folded.enable_compatibility_mode(disable_warnings=True)
    report = eap_plugin.check(folded)
    assert report.ok
    assert (
        "has replaced fused weights of GPT2LMHeadModel by its own, so the bridge's logits were not compared"
        in report.unchecked
    )
    hooked = bridge(build("gpt2"))
    hooked.blocks[0].hook_out.add_hook(lambda value, hook: value)
    assert "there are hooks on the bridge" in eap_plugin.check(hooked).unchecked


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: from_config("gemma2", **GEMMA, attention_bias=True), "the norm after attention scales them"),
        (
            lambda: from_config("gpt_oss", **GROUPED, num_local_experts=4, num_experts_per_tok=2),
            "attention sinks make patterns that do not add up to 1",
        ),
    ],
)
def test_value_biases_that_cannot_be_folded(make: Callable[[], Any], reason: str) -> None:
    folded = bridge(make())
    folded.enable_compatibility_mode(disable_warnings=True)
    with pytest.raises(eap_plugin.EapPluginError, match=f"{reason}.*fold_value_biases=False"):
        eap_plugin.wrap_model(folded)
    kept = bridge(make())
    kept.enable_compatibility_mode(disable_warnings=True, fold_value_biases=False)
    batch = Batch(*prompts(3, 5))
    found, raw = (eap_plugin.prune_scores(model, [batch]).matrix for model in (kept, bridge(make())))
    torch.testing.assert_close(found, raw, rtol=0, atol=1e-5 * float(raw.abs().max()))


def test_on_prompts_of_a_task() -> None:
    padded = Batch(*prompts(3, 6), attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1]] * 3).bool())
    assert eap_plugin.check(bridge(build("llama")), [padded]).ok


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_massive_activations_are_no_reason_to_refuse(dtype: torch.dtype) -> None:
    """As in trained models, one direction of the residual stream dwarfs the rest, and rounding is relative to it."""
    model = build("llama", dtype)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 3] = 300
    assert eap_plugin.check(bridge(model)).ok


def test_weights_that_change_after_wrapping_are_read_anew() -> None:
    wrapped = eap_plugin.wrap_model(bridge(build("gemma2")))
    with torch.no_grad():
        wrapped.bridge.blocks[1].ln1.original_component.weight += 1
    assert eap_plugin.check(wrapped).ok
