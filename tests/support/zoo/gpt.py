"""GPT-2 and similar models: layer norms with biases, mostly a fused projection for q, k and v."""

from __future__ import annotations

from tests.support.zoo.sizes import D_MLP, D_MODEL, GPT, GROUPED, N_HEADS, N_LAYERS, PLAIN, SIZES, WINDOW, Recipe

OPT = {**SIZES, "max_position_embeddings": 32, "ffn_dim": D_MLP, "dropout": 0.0}
FALCON = {**SIZES, "max_position_embeddings": 32, "ffn_hidden_size": D_MLP}
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

RECIPES: dict[str, Recipe] = {
    "gpt2": Recipe("GPT-2", "gpt2", GPT),
    "gptj": Recipe("GPT-J", "gptj", {**GPT, "rotary_dim": 4}),
    "gpt_neo": Recipe("GPT-Neo", "gpt_neo", _GPT_NEO),
    "gpt_neox": Recipe("GPT-NeoX", "gpt_neox", PLAIN),
    "gpt_neox_sequential": Recipe(
        "GPT-NeoX (sequential blocks)", "gpt_neox", {**PLAIN, "use_parallel_residual": False}
    ),
    "gpt_bigcode": Recipe("GPT-BigCode", "gpt_bigcode", GPT),
    "codegen": Recipe(
        "CodeGen", "codegen", {**GPT, "n_head": 8, "rotary_dim": 4}
    ),  # more heads than the four groups it puts them in
    "opt": Recipe("OPT", "opt", OPT),
    "opt_projected": Recipe("OPT (narrow embeddings)", "opt", {**OPT, "word_embed_proj_dim": D_MODEL // 2}),
    "bloom": Recipe("BLOOM", "bloom", {"hidden_size": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS}),
    "falcon": Recipe("Falcon", "falcon", FALCON),
    "falcon_sequential": Recipe(
        "Falcon (sequential blocks, every head its own key and value)",
        "falcon",
        {**FALCON, "multi_query": False, "parallel_attn": False},
    ),
    "mpt": Recipe("MPT", "mpt", {"d_model": D_MODEL, "n_layers": N_LAYERS, "n_heads": N_HEADS, "max_seq_len": 32}),
    "phi": Recipe("Phi", "phi", PLAIN),
    "stablelm": Recipe("StableLM", "stablelm", _STABLELM),
    "stablelm_parallel": Recipe("StableLM (parallel blocks)", "stablelm", {**_STABLELM, "use_parallel_residual": True}),
    "starcoder2": Recipe("StarCoder 2", "starcoder2", GROUPED),
    "modernbert_decoder": Recipe(
        "ModernBERT decoder",
        "modernbert-decoder",
        {**PLAIN, "local_attention": 2 * WINDOW, "cls_token_id": 0, "sep_token_id": 1},
    ),
}
