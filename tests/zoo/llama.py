"""Llama and those after its plan: RMS norms before the blocks, rotary positions, mostly a gated MLP."""

from __future__ import annotations

from tests.zoo.sizes import D_HEAD, GROUPED, ROTARY, SLIDING, WINDOW, Recipes

RESIDUAL_MULTIPLIER = 0.6
"""What Granite multiplies a block's output by before it is added to the residual stream."""

GRANITE = {
    **GROUPED,
    "embedding_multiplier": 3.0,
    "attention_multiplier": 0.4,
    "residual_multiplier": RESIDUAL_MULTIPLIER,
    "logits_scaling": 0.8,
}

RECIPES: Recipes = {
    "llama": ("llama", GROUPED),
    "llama_biased": ("llama", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "mistral": ("mistral", {**GROUPED, "sliding_window": WINDOW}),
    "qwen2": ("qwen2", GROUPED),
    "qwen3": ("qwen3", {**GROUPED, "head_dim": D_HEAD}),
    "phi3": ("phi3", GROUPED),
    "granite": ("granite", GRANITE),
    "smollm3": ("smollm3", {**GROUPED, "no_rope_layers": [1, 0]}),
    "ernie4_5": ("ernie4_5", {**GROUPED, "head_dim": D_HEAD, "use_bias": True}),
    "seed_oss": ("seed_oss", {**GROUPED, "head_dim": D_HEAD, "attention_out_bias": True}),
    "hunyuan": ("hunyuan_v1_dense", {**GROUPED, "head_dim": D_HEAD}),
    "glm": ("glm", {**GROUPED, "head_dim": D_HEAD, "attention_bias": True}),
    "arcee": ("arcee", {**GROUPED, "mlp_bias": True}),
    "apertus": ("apertus", {**GROUPED, **ROTARY}),
    "nemotron": ("nemotron", {**GROUPED, "attention_bias": True, "mlp_bias": True}),
    "nanochat": ("nanochat", GROUPED),
    "olmo": ("olmo", GROUPED),
    "olmo_clipped": ("olmo", {**GROUPED, "clip_qkv": 1.0}),
    "cohere": ("cohere", {**GROUPED, "logit_scale": 0.8, "use_qk_norm": True}),
    "cohere2": ("cohere2", {**GROUPED, **SLIDING, "logit_scale": 0.8}),
}
