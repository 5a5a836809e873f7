"""Where Llama, and those after its plan, have their readers and writers.

- OLMo 2, OLMo 3, OLMoE, FlexOlmo and MiniMax-M2 normalize queries and keys over all heads at once, so one head's query
  changes the others'.
- NanoChat's final norm is also applied to the embeddings; what the logits read is its last call's input.
- OLMo clips what the projections give in place: a hook on a projection must keep a copy.
- Gemma's ``post_attention_layernorm`` is a norm after the block, where Llama's is before the MLP.
- Llama 4's mixture of experts returns a tuple, its other MLPs do not.
- gpt-oss's MLP module returns a tuple, so the experts inside it tell what is written, with batch and position as one
  axis; its router reads what the experts read.
"""

from __future__ import annotations

from dataclasses import replace

from tests.oracle.layout.layout import Layout, one_after_another, separate
from tests.zoo import N_KV_HEADS
from tests.zoo.llama import RESIDUAL_MULTIPLIER

_LLAMA = Layout(
    "model.layers",
    "model.norm",
    heads=separate("self_attn", N_KV_HEADS),
    o="self_attn.o_proj",
    attn_norm="input_layernorm",
    mlp_norm="post_attention_layernorm",
)
_GRANITE = replace(_LLAMA, residual_multiplier=RESIDUAL_MULTIPLIER)
_COHERE = replace(_LLAMA, mlp_norm="input_layernorm", parallel=True)
_GEMMA = replace(
    _LLAMA,
    mlp_norm="pre_feedforward_layernorm",
    attn_post_norm="post_attention_layernorm",
    mlp_post_norm="post_feedforward_layernorm",
)
_OLMO2 = replace(_GEMMA, attn_norm="", mlp_norm="")

LAYOUTS: dict[str, Layout] = {
    **dict.fromkeys(
        (
            "llama",
            "llama_biased",
            "mistral",
            "ministral3",
            "gemma",
            "jais2",
            "qwen2",
            "qwen3",
            "smollm3",
            "ernie4_5",
            "seed_oss",
            "hunyuan",
            "glm",
            "arcee",
            "nemotron",
            "nanochat",
            "olmo",
            "olmo_clipped",
            "mixtral",
            "qwen3_moe",
            "qwen2_moe",
            "olmoe",
            "minimax_m2",
            "ernie4_5_moe",
            "glm4_moe",
        ),
        _LLAMA,
    ),
    "phi3": replace(_LLAMA, heads=one_after_another("self_attn.qkv_proj", N_KV_HEADS)),
    "apertus": replace(_LLAMA, attn_norm="attention_layernorm", mlp_norm="feedforward_layernorm"),
    "granite": _GRANITE,
    "granitemoe": replace(_GRANITE, mlp_in="block_sparse_moe", mlp_out="block_sparse_moe"),
    "cohere": _COHERE,
    "cohere2": _COHERE,
    "gemma2": _GEMMA,
    "gemma3": _GEMMA,
    "olmo2": _OLMO2,
    "olmo3": _OLMO2,
    "flex_olmo": _OLMO2,
    "exaone4": _OLMO2,
    "vaultgemma": replace(_LLAMA, mlp_norm="pre_feedforward_layernorm"),
    "glm4": replace(_LLAMA, attn_post_norm="post_self_attn_layernorm", mlp_post_norm="post_mlp_layernorm"),
    "llama4": replace(_LLAMA, mlp_in="feed_forward", mlp_out="feed_forward"),
    "gpt_oss": replace(_LLAMA, mlp_out="mlp.experts"),
}
"""By the names of ``tests.zoo``."""
