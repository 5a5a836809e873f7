"""Hugging Face models with the weights that recorded outputs were made with; see ``golden/README.md``."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from tests.support import golden_cases as golden


def _gpt2(name: str) -> PreTrainedModel:
    c, w = golden.config(name)["config"], golden.weights(name)
    d = c["d_model"]
    model = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=c["d_vocab"], n_positions=c["n_ctx"], n_embd=d, n_layer=c["n_layers"], n_head=c["n_heads"],
            n_inner=c["d_mlp"], layer_norm_epsilon=c["eps"], tie_word_embeddings=False, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    state = {
        "transformer.wte.weight": w["embed.W_E"], "transformer.wpe.weight": w["pos_embed.W_pos"],
        "transformer.ln_f.weight": w["ln_final.w"], "transformer.ln_f.bias": w["ln_final.b"],
        "lm_head.weight": w["unembed.W_U"].T,
    }  # fmt: skip
    for layer in range(c["n_layers"]):
        tl, hf = f"blocks.{layer}.", f"transformer.h.{layer}."
        fused = [w[f"{tl}attn.W_{x}"].permute(1, 0, 2).reshape(d, d) for x in "QKV"]
        state |= {
            hf + "attn.c_attn.weight": torch.cat(fused, 1),
            hf + "attn.c_attn.bias": torch.cat([w[f"{tl}attn.b_{x}"].flatten() for x in "QKV"]),
            hf + "attn.c_proj.weight": w[tl + "attn.W_O"].reshape(d, d),
            hf + "attn.c_proj.bias": w[tl + "attn.b_O"],
        }
        for part, name_ in (("in", "c_fc"), ("out", "c_proj")):
            state[f"{hf}mlp.{name_}.weight"] = w[f"{tl}mlp.W_{part}"]
            state[f"{hf}mlp.{name_}.bias"] = w[f"{tl}mlp.b_{part}"]
        for norm in "12":
            state[f"{hf}ln_{norm}.weight"], state[f"{hf}ln_{norm}.bias"] = (
                w[f"{tl}ln{norm}.w"],
                w[f"{tl}ln{norm}.b"],
            )
    return _loaded(model, state)


def _llama(name: str) -> PreTrainedModel:
    c, w = golden.config(name)["config"], golden.weights(name)
    d = c["d_model"]
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=c["d_vocab"], hidden_size=d, intermediate_size=c["d_mlp"], num_hidden_layers=c["n_layers"],
            num_attention_heads=c["n_heads"], num_key_value_heads=c["n_key_value_heads"], head_dim=c["d_head"],
            max_position_embeddings=c["n_ctx"], rms_norm_eps=c["eps"], tie_word_embeddings=False,
            bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    state = {
        "model.embed_tokens.weight": w["embed.W_E"], "model.norm.weight": w["ln_final.w"],
        "lm_head.weight": w["unembed.W_U"].T,
    }  # fmt: skip
    for layer in range(c["n_layers"]):
        tl, hf = f"blocks.{layer}.", f"model.layers.{layer}."
        for source, target in (("W_Q", "q"), ("_W_K", "k"), ("_W_V", "v")):
            weight = w[f"{tl}attn.{source}"]
            state[f"{hf}self_attn.{target}_proj.weight"] = weight.permute(0, 2, 1).reshape(-1, d)
        state[hf + "self_attn.o_proj.weight"] = w[tl + "attn.W_O"].reshape(d, d).T
        for source, target in (("gate", "gate"), ("in", "up"), ("out", "down")):
            state[f"{hf}mlp.{target}_proj.weight"] = w[f"{tl}mlp.W_{source}"].T
        state[hf + "input_layernorm.weight"] = w[tl + "ln1.w"]
        state[hf + "post_attention_layernorm.weight"] = w[tl + "ln2.w"]
    return _loaded(model, state)


def _loaded(model: PreTrainedModel, state: dict[str, Tensor]) -> PreTrainedModel:
    missing = model.double().load_state_dict({k: v.contiguous() for k, v in state.items()}, strict=False)
    assert not missing.unexpected_keys
    assert not missing.missing_keys
    return model.eval()


MAKERS = {"tiny_gpt2": _gpt2, "tiny_llama_hf": _llama}
