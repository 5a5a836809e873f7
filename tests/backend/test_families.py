"""What single families do differently: fused gates, scaled additions, clipped heads, sinks, norms called twice."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import nnsight
import pytest
import torch
from torch import nn
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge import TransformerBridge
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.algorithm.gradient.test_eap_oracle import worst
from tests.oracle import changed_backward
from tests.oracle.brute_force import oracle_scores
from tests.oracle.circuits import edge_effects
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.oracle.recomputed import atp_star, attention_effects
from tests.support.bridges import bridge
from tests.support.zoo import FAMILIES, build, prompts

pytestmark = pytest.mark.exhaustive

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
PROMPTS = prompts(3, 6, seed=1)

on_both = pytest.mark.parametrize("backend", BACKENDS)


def scores(backend: str, model: Any, algorithm: str = "eap", **options: Any) -> Any:
    with InFloat64():
        return eap_plugin.prune_scores(BACKENDS[backend](model), [Batch(*PROMPTS)], algorithm=algorithm, **options)


@on_both
@pytest.mark.parametrize("name", ["nanochat", "granite", "granitemoe", "olmo_clipped", "modernbert_decoder"])
def test_edges_and_patched_edges(name: str, backend: str) -> None:
    model = build(name, torch.float64)
    with InFloat64():
        eap, patched = oracle_scores(model, name, *PROMPTS), edge_effects(Oracle(model, name, PROMPTS))
    assert worst(scores(backend, build(name, torch.float64)), eap) <= 1e-12
    assert worst(scores(backend, build(name, torch.float64), "exact"), patched) <= 1e-12


@on_both
@pytest.mark.parametrize("name", ["nanochat", "granite", "granitemoe"])
def test_neurons_and_nodes(name: str, backend: str) -> None:
    model = build(name, torch.float64)
    with InFloat64():
        judge = Oracle(model, name, PROMPTS)
        want = torch.stack([judge.neurons(writer) for writer in judge.change])
    for level, expected in (("neuron", want), ("node", want.sum(1))):
        found = scores(backend, build(name, torch.float64), level=level).matrix
        assert float((found - expected).abs().max()) <= 1e-11 * float(expected.abs().max()), level


METHODS: dict[str, Any] = {
    "gim": changed_backward.gim,
    "relp": partial(changed_backward.relp, constant_attention=False),
}


@on_both
@pytest.mark.parametrize("algorithm", METHODS)
@pytest.mark.parametrize("name", ["modernbert_decoder", "phi3", "glm", "glm4", "granite", "nanochat", "olmo_clipped"])
def test_changed_backward_rules(name: str, algorithm: str, backend: str) -> None:
    """Both halves of a fused gate are its product's factors, as two projections are."""
    model = build(name, torch.float64)
    found = scores(backend, build(name, torch.float64), algorithm)
    with InFloat64(), METHODS[algorithm](model, name):
        want = oracle_scores(model, name, *PROMPTS)
    assert worst(found, want) <= 1e-11


@on_both
def test_attention_sinks(backend: str) -> None:
    """Of gpt-oss, whose patterns have a column that no key is at; with gradient drop and without."""
    tokens = prompts(2, 5, seed=1)
    for grad_drop in (False, True):
        with InFloat64():
            ours = eap_plugin.prune_scores(
                BACKENDS[backend](build("gpt_oss", torch.float64)),
                [Batch(*tokens)],
                algorithm="atp-star",
                grad_drop=grad_drop,
            )
            model = build("gpt_oss", torch.float64)
            want = (
                atp_star(model, "gpt_oss", tokens)
                if grad_drop
                else oracle_scores(model, "gpt_oss", *tokens) | attention_effects(model, "gpt_oss", tokens)
            )
        assert worst(ours, want) <= 1e-11


def without_norms() -> Any:
    """Make a GPT-2 like Tracr's compiled programs, in which every norm is an ``Identity``."""
    model = build("gpt2", torch.float64)
    model.transformer.ln_f = nn.Identity()
    for block in model.transformer.h:
        block.ln_1, block.ln_2 = nn.Identity(), nn.Identity()
    return model


@on_both
def test_norms_that_do_nothing(backend: str) -> None:
    model = without_norms()
    with InFloat64():
        eap, patched = oracle_scores(model, "gpt2", *PROMPTS), edge_effects(Oracle(model, "gpt2", PROMPTS))
    assert worst(scores(backend, without_norms()), eap) <= 1e-12
    assert worst(scores(backend, without_norms(), "exact"), patched) <= 1e-12


def test_a_bridge_without_norms_is_left_as_it_was() -> None:
    model = bridge(without_norms())
    norms = [model.ln_final, *(norm for block in model.blocks for norm in (block.ln1, block.ln2))]
    before = [norm.use_native_layernorm_autograd for norm in norms]
    assert not all(before)
    eap_plugin.prune_scores(model, [Batch(*PROMPTS)])
    assert [norm.use_native_layernorm_autograd for norm in norms] == before


def test_a_bridge_without_a_hugging_face_configuration() -> None:
    """TransformerLens' own models have a bridge, too."""
    sizes = {"d_model": 32, "d_head": 8, "n_heads": 4, "n_layers": 2, "n_ctx": 16, "d_vocab": 64, "d_mlp": 48}
    config = TransformerBridgeConfig(
        **sizes, act_fn="gelu", architecture="TransformerLensNative", normalization_type="LN"
    )
    native = eap_plugin.wrap_model(TransformerBridge.boot_native(config))
    assert eap_plugin.prune_scores(native, [Batch(*PROMPTS)]).matrix.abs().max() > 0


def made(model_type: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32}
    config = CONFIG_MAPPING[model_type](
        **{"vocab_size": 64, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2, **sizes, **settings}
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@on_both
@pytest.mark.parametrize(
    ("model_type", "settings", "cause"),
    [
        ("opt", {"ffn_dim": 48, "do_layer_norm_before": False}, "do_layer_norm_before=False"),
        ("openai-gpt", {}, "post-norm"),
        ("gemma4_text", {"hidden_size_per_layer_input": 8}, "hidden_size_per_layer_input"),
    ],
)
def test_models_without_a_residual_stream_are_refused(
    model_type: str, settings: dict[str, Any], cause: str, backend: str
) -> None:
    with pytest.raises(
        eap_plugin.EapPluginError, match=rf"has no residual stream that heads and MLPs only add to: .*{cause}"
    ):
        eap_plugin.wrap_model(BACKENDS[backend](made(model_type, **settings)))


@on_both
def test_a_head_after_the_final_norm(backend: str) -> None:
    """OPT that projects before the logits: its final norm is not known, so it cannot be held constant."""
    narrow = {"ffn_dim": 48, "word_embed_proj_dim": 16}
    model = made("opt", **narrow)
    with InFloat64():
        want = oracle_scores(model, "opt", *PROMPTS)
    assert worst(scores(backend, made("opt", **narrow)), want) <= 1e-11
    with pytest.raises(eap_plugin.EapPluginError, match="is not the output of its final norm, so that norm"):
        scores(backend, made("opt", **narrow), "gim")


@on_both
def test_gemma4(backend: str) -> None:
    sizes = {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8}
    settings = {**sizes, "hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 64}
    model = made("gemma4_text", **settings)
    with InFloat64():
        want = oracle_scores(model, "gemma3", *PROMPTS)
    assert worst(scores(backend, made("gemma4_text", **settings)), want) <= 1e-11


@on_both
def test_clipping_of_a_fused_projection(backend: str) -> None:
    """MPT clips into a new tensor where OLMo does so in place."""
    model = made("mpt", attn_config={"clip_qkv": 0.5})
    with InFloat64():
        want = oracle_scores(model, "mpt", *PROMPTS)
    assert worst(scores(backend, made("mpt", attn_config={"clip_qkv": 0.5})), want) <= 1e-11


@on_both
def test_a_scaled_residual_stream_is_refused(backend: str) -> None:
    sizes = {"intermediate_size": 48, "num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8}
    model = made("gemma4_text", **sizes, hidden_size_per_layer_input=0)
    model.model.layers[1].layer_scalar.fill_(0.5)
    with pytest.raises(eap_plugin.EapPluginError, match=r"its blocks rescale all of it \(layer_scalar\)"):
        eap_plugin.wrap_model(BACKENDS[backend](model))


def with_an_mlp_that(forward: Callable[[Any, torch.Tensor], torch.Tensor]) -> Any:
    model = build("gpt2", torch.float64)
    mlp = model.transformer.h[1].mlp
    mlp.forward = partial(forward, mlp)
    return model


@on_both
def test_a_site_that_is_reached_twice_is_an_error(backend: str) -> None:
    def twice(mlp: Any, x: torch.Tensor) -> torch.Tensor:
        once = mlp.c_proj(mlp.act(mlp.c_fc(x)))
        return mlp.c_proj(mlp.act(mlp.c_fc(once)))

    with pytest.raises(eap_plugin.EapPluginError, match=r"(mlp_pre of layer 1|h.1.mlp.c_fc) more than once"):
        scores(backend, with_an_mlp_that(twice), "relp")


@on_both
def test_a_site_that_is_never_reached_is_an_error(backend: str) -> None:
    def around(mlp: Any, x: torch.Tensor) -> torch.Tensor:
        return mlp.c_proj(mlp.act(x.repeat(1, 1, 2)[..., : mlp.c_proj.weight.shape[0]]))

    model = eap_plugin.wrap_model(BACKENDS[backend](with_an_mlp_that(around)))
    with pytest.raises(
        eap_plugin.EapPluginError, match=r"never reached mlp_pre of layer 1|parts in the order of a decoder's blocks"
    ):
        model.forward(PROMPTS[0], {"mlp_pre": lambda layer, value: None})


@pytest.mark.parametrize("name", FAMILIES)
def test_both_backends_have_the_same_sites(name: str) -> None:
    ours, theirs = (eap_plugin.wrap_model(wrap(build(name))) for wrap in BACKENDS.values())
    assert ours.sites == theirs.sites
    assert ours.graph == theirs.graph
