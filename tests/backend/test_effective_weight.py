"""Adapted and quantised models are scored as the same model with its adapters merged, or its weights dequantised."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nnsight
import peft
import pytest
import torch
from torch import nn
from torchao.quantization import (
    Float8WeightOnlyConfig,
    Int8DynamicActivationInt8WeightConfig,
    Int8DynamicActivationIntxWeightConfig,
    Int8WeightOnlyConfig,
    IntxWeightOnlyConfig,
    quantize_,
)

import eap_plugin
from eap_plugin import Batch, EapPluginError
from eap_plugin.backend.effective_weight import effective_weight, require_gradients
from tests.backend.nnsight.test_nnsight import MASKS, difference
from tests.backend.nnsight.test_objects import snapshot
from tests.ndif import models
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

pytestmark = pytest.mark.exhaustive

DATA = [Batch(*prompts(3, 6)), Batch(*prompts(2, 5, seed=1))]
EVERYWHERE = {
    "llama": ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    "gpt2": ["c_attn", "c_proj", "c_fc"],
    "gpt_neox": ["query_key_value", "dense", "dense_4h_to_h"],
    "llama_biased": ["q_proj", "v_proj", "o_proj", "up_proj"],
    "qwen2": ["q_proj", "o_proj"],  # grouped heads, and biases
    "gemma3": ["k_proj", "v_proj", "o_proj", "down_proj"],  # heads together wider than the residual stream
}


def adapted(name: str, dtype: torch.dtype = torch.float64, **settings: Any) -> Any:
    """Make a ``PeftModel`` whose adapter ``default`` is not zero."""
    return peft.get_peft_model(build(name, dtype), lora(name, **settings)).eval()


def lora(name: str, seed: int = 0, **settings: Any) -> peft.LoraConfig:
    torch.manual_seed(seed)
    return peft.LoraConfig(
        **{
            "r": 3,
            "lora_alpha": 7,
            "lora_dropout": 0.3,
            "init_lora_weights": False,
            "target_modules": EVERYWHERE[name],
            "task_type": "CAUSAL_LM",
            **settings,
        }
    )


def shift(model: Any) -> Any:
    """Move DoRA's magnitudes and LoRA's biases away from their initial values."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.named_parameters():
        if "magnitude" in name or ("lora_B" in name and name.endswith("bias")):
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return model


def merged(model: Any) -> Any:
    return copy.deepcopy(model).merge_and_unload().eval()


def matrix(model: Any, **options: Any) -> torch.Tensor:
    return eap_plugin.prune_scores(model, DATA, **options).matrix


def require_same(model: Any, plain: Any, allowed: float = 1e-11, **options: Any) -> None:
    """Check that nnsight models of a ``PeftModel`` and of the model inside it have the merged model's scores."""
    want = matrix(nnsight.NNsight(plain), **options)
    for wrapped in (model, model.get_base_model()):
        assert difference(matrix(nnsight.NNsight(wrapped), **options), want) <= allowed


@pytest.mark.parametrize("name", EVERYWHERE)
def test_lora(name: str) -> None:
    model = adapted(name, torch.float32)
    plain = merged(model)
    require_same(model, plain, 5e-6)
    assert difference(matrix(nnsight.NNsight(build(name))), matrix(nnsight.NNsight(plain))) > 0.1


@pytest.mark.parametrize("side", MASKS)
def test_padded_prompts(side: str) -> None:
    """A ``PeftModel`` hands mask and positions on."""
    batch = Batch(*prompts(3, 6), attention_mask=torch.tensor(MASKS[side]).bool())
    model = adapted("llama", torch.float32)
    ours, want = (eap_plugin.prune_scores(nnsight.NNsight(m), batch).matrix for m in (model, merged(model)))
    assert difference(ours, want) <= 5e-6


def test_the_model_is_left_as_it_was() -> None:
    model = adapted("llama").train()
    before = snapshot(model)
    matrix(nnsight.NNsight(model))
    assert snapshot(model) == before


@pytest.mark.parametrize("algorithm", ["eap-ig-inputs", "exact", "gim", "atp-star"])
def test_lora_by_other_algorithms(algorithm: str) -> None:
    model = adapted("llama")
    require_same(model, merged(model), algorithm=algorithm)


@pytest.mark.parametrize("name", ["llama_biased", "gpt2"])
@pytest.mark.parametrize("settings", [{"use_dora": True}, {"lora_bias": True}, {"use_rslora": True}])
def test_kinds_of_lora(settings: dict[str, Any], name: str) -> None:
    model = shift(adapted(name, **settings))
    require_same(model, merged(model))


def test_a_bias_that_only_the_adapter_has() -> None:
    """Such a model cannot be merged; its self-check compares bias and weight with what it computes."""
    model = shift(adapted("llama", lora_bias=True))
    assert eap_plugin.wrap_model(nnsight.NNsight(model)).layers[0].b_Q is not None
    assert eap_plugin.check(nnsight.NNsight(model)).ok


@pytest.mark.parametrize("dora", [False, True])
def test_several_adapters(dora: bool) -> None:
    model = adapted("llama", use_dora=dora)
    model.add_adapter("other", lora("llama", seed=1, r=2, target_modules=["v_proj", "o_proj"], use_dora=dora))
    shift(model.eval())
    model.base_model.set_adapter(["default", "other"])
    require_same(model, merged(model))
    model.base_model.set_adapter("other")
    require_same(model, merged(model))


def test_scaled_disabled_and_merged_adapters() -> None:
    model = adapted("llama")
    wrapped = nnsight.NNsight(model)
    plain = matrix(nnsight.NNsight(build("llama", torch.float64)))
    with model.disable_adapter():
        assert difference(matrix(wrapped), plain) <= 1e-11
    for module in model.modules():
        if hasattr(module, "set_scale"):
            module.set_scale("default", 0.4)
    require_same(model, merged(model))
    unmerged = matrix(wrapped)
    model.merge_adapter()
    assert difference(matrix(wrapped), unmerged) <= 1e-11
    with (
        model.disable_adapter(),
        pytest.raises(
            EapPluginError,
            match=r"layers\.0\.self_attn\.q_proj are disabled but merged; call unmerge_adapter\(\) first",
        ),
    ):
        _ = eap_plugin.wrap_model(wrapped).layers


@pytest.mark.parametrize("wrapped", ["PeftModel", "model of nnsight"])
def test_lora_on_a_simulated_server(wrapped: str, tmp_path: Path) -> None:
    model = adapted("llama", torch.float32)
    plain = matrix(nnsight.NNsight(merged(model)))
    if wrapped == "PeftModel":
        there = nnsight.NNsight(model)
    else:
        model.save_pretrained(tmp_path / "adapter")
        there = nnsight.TransformersModel(
            str(models.save("llama", tmp_path)), task="text-generation", peft=str(tmp_path / "adapter")
        )
    assert difference(matrix(there, remote="local"), plain) <= 5e-6


@pytest.mark.parametrize("name", ["llama", "qwen2", "gemma3"])
@pytest.mark.parametrize("dora", [False, True])
def test_lora_through_a_bridge(name: str, dora: bool) -> None:
    model = shift(adapted(name, use_dora=dora))
    want = matrix(bridge(merged(model)))
    assert difference(matrix(bridge(model.get_base_model())), want) <= 1e-11


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox"])
def test_lora_on_a_fused_projection_is_refused_through_a_bridge(name: str) -> None:
    """TransformerLens computes another function then."""
    model = adapted(name, torch.float32)
    wrapped = bridge(adapted(name, torch.float32).get_base_model())
    with pytest.raises(
        EapPluginError,
        match=r"\ATransformerBridge splits blocks\.0\.attn\.qkv into q, k and v and drops the adapter 'default' around "
        r"it; merge it into the weights with merge_and_unload\(\) before making the bridge, or use the backend nns",
    ):
        eap_plugin.wrap_model(wrapped)
    assert difference(matrix(bridge(merged(model))), matrix(nnsight.NNsight(model))) <= 5e-6


def test_adapters_in_float32_around_bfloat16() -> None:
    """As peft makes them by default; the merged model rounds the sum, the adapted one each part."""
    model = adapted("llama", torch.bfloat16)
    layer = model.get_base_model().model.layers[0].self_attn.q_proj
    assert (layer.weight.dtype, layer.lora_A["default"].weight.dtype) == (torch.bfloat16, torch.float32)
    weight, _ = effective_weight(layer, "q")
    assert weight.dtype == torch.bfloat16
    assert torch.equal(weight.T, merged(model).model.layers[0].self_attn.q_proj.weight)
    require_same(model, merged(model), 0.05)


def test_an_adapter_that_rounds_is_refused() -> None:
    model = adapted("llama", torch.float32)
    for name, part in model.named_modules():
        if "lora_" in name and isinstance(part, nn.Linear):
            part.bfloat16()
    with pytest.raises(
        EapPluginError,
        match=r"\Athe adapter 'default' of base_model\.model\.model\.layers\.0\.self_attn\.q_proj is in "
        r"torch\.bfloat16 and its weight in torch\.float32, so it rounds its input; convert the whole model",
    ):
        matrix(nnsight.NNsight(model))


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (peft.LoHaConfig(target_modules=["q_proj"]), "loha"),
        (peft.OFTConfig(target_modules=["q_proj"], oft_block_size=4), "oft"),
        (peft.IA3Config(target_modules=["q_proj"], feedforward_modules=[]), "ia3"),
    ],
)
def test_adapters_of_other_kinds_are_refused(config: Any, said: str) -> None:
    model = peft.get_peft_model(build("llama"), config).eval()
    with pytest.raises(
        EapPluginError,
        match=rf"self_attn\.q_proj has an adapter of type peft\.tuners\.{said}\.\S+, but only "
        r"LoRA and DoRA are supported; merge it into the weights with merge_and_unload\(\)\Z",
    ):
        matrix(nnsight.NNsight(model))
    assert matrix(nnsight.NNsight(model.merge_and_unload())).abs().max() > 0


def test_variants_of_lora_are_refused() -> None:
    model = adapted("llama", alora_invocation_tokens=[5, 6])
    with pytest.raises(EapPluginError, match=r"the adapter 'default' of \S+ is of type peft\.\S+ALoraLinearVariant"):
        matrix(nnsight.NNsight(model))


def test_learned_prompts_are_refused() -> None:
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    with pytest.raises(EapPluginError, match=r"LlamaForCausalLM is PROMPT_TUNING, which puts learned tokens"):
        eap_plugin.wrap_model(nnsight.NNsight(peft.get_peft_model(build("llama"), config)))


def quantised(name: str, config: Any) -> Any:
    model = build(name)
    quantize_(model, config)
    return model


def dequantised(model: Any) -> Any:
    plain = copy.deepcopy(model)
    for module in plain.modules():
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(module.weight.dequantize().detach())
    return plain


@pytest.mark.parametrize("wrap", [nnsight.NNsight, bridge])
@pytest.mark.parametrize("config", [Int8WeightOnlyConfig, IntxWeightOnlyConfig, Float8WeightOnlyConfig])
@pytest.mark.parametrize("name", ["llama", "qwen2"])
def test_weight_only_quantisation(name: str, config: Any, wrap: Callable[[Any], Any]) -> None:
    model = quantised(name, config())
    want = matrix(nnsight.NNsight(dequantised(model)))
    assert difference(matrix(wrap(model)), want) <= 3e-6
    assert difference(matrix(wrap(build(name))), want) > 1e-3


def test_a_quantised_fused_projection() -> None:
    model = quantised("gpt_neox", Int8WeightOnlyConfig())
    assert difference(matrix(nnsight.NNsight(model)), matrix(nnsight.NNsight(dequantised(model)))) <= 3e-6


def test_lora_around_quantised_weights() -> None:
    model = peft.get_peft_model(quantised("llama", Int8WeightOnlyConfig()), lora("llama")).eval()
    plain = adapted("llama", torch.float32)
    base = dequantised(quantised("llama", Int8WeightOnlyConfig()))
    for (_, theirs), (_, ours) in zip(_projections(base), _projections(plain.get_base_model()), strict=True):
        ours.weight.data = theirs.weight.data
    require_same(model, merged(plain), 5e-6)


def _projections(model: nn.Module) -> list[tuple[str, nn.Linear]]:
    found = [(name.replace(".base_layer", ""), m) for name, m in model.named_modules() if isinstance(m, nn.Linear)]
    return [(name, m) for name, m in found if "lora" not in name]


@pytest.mark.parametrize("wrap", [nnsight.NNsight, bridge])
@pytest.mark.parametrize("config", [Int8DynamicActivationInt8WeightConfig, Int8DynamicActivationIntxWeightConfig])
def test_quantised_activations_are_refused(config: Any, wrap: Callable[[Any], Any]) -> None:
    """Wherever they are: torchao passes no gradient through them, and says nothing."""
    model = build("llama")
    quantize_(model, config(), lambda module, name: name.endswith("up_proj"))
    with pytest.raises(
        EapPluginError,
        match=r"\Amodel\.layers\.0\.mlp\.up_proj \(torchao\.\S+Tensor\) quantises its activations, and no gradient "
        r"passes through the rounding; load the model in floating point, or with torchao's weight-only quantisation "
        r"\(Int8W",
    ):
        eap_plugin.wrap_model(wrap(model))


def test_torchs_dynamic_quantisation_is_refused() -> None:
    model = torch.ao.quantization.quantize_dynamic(build("llama"), {nn.Linear}, dtype=torch.qint8)
    with pytest.raises(
        EapPluginError, match=r"self_attn\.q_proj \(torch\.ao\.nn\.\S+Linear\) quantises its activations"
    ):
        eap_plugin.wrap_model(nnsight.NNsight(model))


class Packed(nn.Module):
    """A layer as other libraries keep it: bitsandbytes has integers for its weight, GPTQ another name for it."""

    def __init__(self, weight: torch.Tensor | None) -> None:
        super().__init__()
        if weight is not None:
            self.weight = nn.Parameter(weight, requires_grad=False)


@pytest.mark.parametrize(
    ("weight", "kept"),
    [(torch.zeros(4, 1, dtype=torch.uint8), r"in torch\.uint8"), (None, "packed")],
)
def test_other_quantised_weights_are_refused(weight: torch.Tensor | None, kept: str) -> None:
    layer = Packed(weight)
    require_gradients(layer.named_modules())
    with pytest.raises(
        EapPluginError, match=rf"\Athe weight of a\.b \(tests\.\S+\.Packed\) is quantised and stored {kept}; load the"
    ):
        effective_weight(layer, "a.b")
