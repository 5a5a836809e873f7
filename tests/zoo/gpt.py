"""GPT-2 and those after its plan: layer norms with biases, mostly a fused projection for q, k and v."""

from __future__ import annotations

from tests.zoo.sizes import D_MLP, D_MODEL, GPT, GROUPED, N_HEADS, N_LAYERS, PLAIN, SIZES, WINDOW, Recipes

_GPT_NEO = {
    "hidden_size": D_MODEL,
    "num_layers": N_LAYERS,
    "num_heads": N_HEADS,
    "intermediate_size": D_MLP,
    "max_position_embeddings": 32,
    "window_size": WINDOW,
    "attention_types": [[["local", "global"], 1]],
}
_STABLELM = {**GROUPED, "use_qkv_bias": True}
_MODERNBERT = {**PLAIN, "local_attention": 2 * WINDOW, "cls_token_id": 0, "sep_token_id": 1}

RECIPES: Recipes = {
    "gpt2": ("gpt2", GPT),
    "gptj": ("gptj", {**GPT, "rotary_dim": 4}),
    "gpt_neo": ("gpt_neo", _GPT_NEO),
    "gpt_neox": ("gpt_neox", PLAIN),
    "gpt_neox_sequential": ("gpt_neox", {**PLAIN, "use_parallel_residual": False}),
    "gpt_bigcode": ("gpt_bigcode", GPT),
    "codegen": ("codegen", {**GPT, "n_head": 8, "rotary_dim": 4}),  # more heads than the four groups it puts them in
    "opt": ("opt", {**SIZES, "max_position_embeddings": 32, "ffn_dim": D_MLP, "dropout": 0.0}),
    "bloom": ("bloom", {"hidden_size": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS}),
    "falcon": ("falcon", {**SIZES, "max_position_embeddings": 32, "ffn_hidden_size": D_MLP}),
    "mpt": ("mpt", {"d_model": D_MODEL, "n_layers": N_LAYERS, "n_heads": N_HEADS, "max_seq_len": 32}),
    "phi": ("phi", PLAIN),
    "stablelm": ("stablelm", _STABLELM),
    "stablelm_parallel": ("stablelm", {**_STABLELM, "use_parallel_residual": True}),
    "starcoder2": ("starcoder2", GROUPED),
    "modernbert_decoder": (
        "modernbert-decoder",
        {**PLAIN, "local_attention": 2 * WINDOW, "cls_token_id": 0, "sep_token_id": 1},
    ),
}
