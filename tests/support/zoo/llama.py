"""Llama and similar models: RMS norms before the blocks, rotary positions, mostly a gated MLP."""

from __future__ import annotations

from tests.support.zoo.sizes import D_HEAD, GROUPED, ROTARY, SLIDING, WINDOW, Recipe

RESIDUAL_MULTIPLIER = 0.6
"""The factor by which Granite multiplies a block's output before it is added to the residual stream."""

GRANITE = {
    **GROUPED,
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.4,
    "residual_multiplier": RESIDUAL_MULTIPLIER,
    "logits_scaling": 0.8,
}
_QUERIES_GROW = {
    "rope_parameters": {
        **ROTARY["rope_parameters"],
        "llama_4_scaling_beta": 0.5,
        "original_max_position_embeddings": 2,
    },
}

RECIPES: dict[str, Recipe] = {
    "llama": Recipe("Llama", "llama", GROUPED),
    "llama_biased": Recipe("Llama (with biases)", "llama", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "mistral": Recipe("Mistral", "mistral", {**GROUPED, "sliding_window": WINDOW}),
    "ministral3": Recipe("Ministral 3", "ministral3", {**GROUPED, **_QUERIES_GROW, "head_dim": D_HEAD}),
    "qwen2": Recipe("Qwen 2", "qwen2", GROUPED),
    "qwen3": Recipe("Qwen 3", "qwen3", {**GROUPED, "head_dim": D_HEAD}),
    "phi3": Recipe("Phi-3", "phi3", GROUPED),
    "gemma": Recipe("Gemma", "gemma", {**GROUPED, "head_dim": 2 * D_HEAD}),
    "vaultgemma": Recipe(
        "VaultGemma", "vaultgemma", {**GROUPED, **SLIDING, "head_dim": 2 * D_HEAD, "query_pre_attn_scalar": 16}
    ),
    "granite": Recipe("Granite", "granite", GRANITE),
    "smollm3": Recipe("SmolLM 3", "smollm3", {**GROUPED, "no_rope_layers": [1, 0]}),
    "ernie4_5": Recipe("ERNIE 4.5", "ernie4_5", {**GROUPED, "head_dim": D_HEAD, "use_bias": True}),
    "seed_oss": Recipe("Seed-OSS", "seed_oss", {**GROUPED, "head_dim": D_HEAD, "attention_out_bias": True}),
    "hunyuan": Recipe("HunYuan dense", "hunyuan_v1_dense", {**GROUPED, "head_dim": D_HEAD}),
    "glm": Recipe("GLM", "glm", {**GROUPED, "head_dim": D_HEAD, "attention_bias": True}),
    "arcee": Recipe("Arcee", "arcee", {**GROUPED, "mlp_bias": True}),
    "apertus": Recipe("Apertus", "apertus", {**GROUPED, **ROTARY}),
    "nemotron": Recipe("Nemotron", "nemotron", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "jais2": Recipe("Jais 2", "jais2", {**GROUPED, "head_dim": D_HEAD}),
    "nanochat": Recipe("NanoChat", "nanochat", GROUPED),
    "olmo": Recipe("OLMo", "olmo", GROUPED),
    "olmo_clipped": Recipe("OLMo (clipped q, k and v)", "olmo", {**GROUPED, "clip_qkv": 1.0}),
    "cohere": Recipe("Cohere", "cohere", {**GROUPED, "logit_scale": 0.8, "use_qk_norm": True}),
    "cohere2": Recipe("Cohere 2", "cohere2", {**GROUPED, **SLIDING, "logit_scale": 0.8}),
}
