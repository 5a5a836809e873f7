"""Models that are refused: not decoders with attention and MLP blocks, or not supported by TransformerLens."""

from __future__ import annotations

from tests.support.zoo.gpt import FALCON, OPT
from tests.support.zoo.sizes import (
    D_HEAD,
    D_MLP,
    D_MODEL,
    EXPERTS,
    GPT,
    GROUPED,
    N_HEADS,
    N_KV_HEADS,
    N_LAYERS,
    PLAIN,
    SLIDING,
    VOCAB,
    WINDOW,
    Recipe,
)

_DBRX = {
    "d_model": D_MODEL,
    "n_heads": N_HEADS,
    "n_layers": N_LAYERS,
    "max_seq_len": 32,
    "attn_config": {"kv_n_heads": N_KV_HEADS, "clip_qkv": 8.0, "rope_theta": 10_000.0},
    "ffn_config": {"ffn_hidden_size": D_MLP, "moe_num_experts": 4, "moe_top_k": 2},
}

_GEMMA4 = {**GROUPED, **SLIDING, "head_dim": D_HEAD, "num_kv_shared_layers": 0}
_LATENT_ATTENTION = {
    **PLAIN,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 4,
    "qk_nope_head_dim": 4,
    "v_head_dim": 8,
    "moe_intermediate_size": D_MLP,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
}
_AFMOE = {
    **GROUPED,
    **SLIDING,
    "head_dim": D_HEAD,
    "moe_intermediate_size": D_MLP,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "num_dense_layers": 1,
}
_QWEN3_NEXT = {
    **GROUPED,
    "head_dim": D_HEAD,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": D_MLP,
    "shared_expert_intermediate_size": D_MLP,
    "layer_types": ["full_attention", "full_attention"],
}
_FALCON_H1 = {
    **GROUPED,
    "head_dim": D_HEAD,
    "mamba_d_ssm": D_MODEL,
    "mamba_n_heads": N_HEADS,
    "mamba_d_head": D_HEAD,
    "mamba_d_state": 8,
}
_RECURRENT_GEMMA = {
    **GROUPED,
    "lru_width": D_MODEL,
    "attention_window_size": WINDOW,
    "block_types": ["recurrent", "attention"],
}
_ENCODER_DECODER = {
    "d_model": D_MODEL,
    "encoder_layers": N_LAYERS,
    "decoder_layers": N_LAYERS,
    "encoder_attention_heads": N_HEADS,
    "decoder_attention_heads": N_HEADS,
    "encoder_ffn_dim": D_MLP,
    "decoder_ffn_dim": D_MLP,
    "max_position_embeddings": 32,
}

RECIPES: dict[str, Recipe] = {
    "dbrx": Recipe("DBRX", "dbrx", _DBRX),
    "helium": Recipe("Helium", "helium", {**GROUPED, "head_dim": D_HEAD}),
    "phimoe": Recipe("Phi-3.5 MoE", "phimoe", {**GROUPED, **EXPERTS}),
    "gpt_bigcode_multi_head": Recipe(
        "GPT-BigCode (every head its own key and value)", "gpt_bigcode", {**GPT, "multi_query": False}
    ),
    "falcon_new": Recipe(
        "Falcon (new decoder architecture)",
        "falcon",
        {**FALCON, "new_decoder_architecture": True, "num_kv_heads": N_KV_HEADS},
    ),
    "laguna": Recipe(
        "Laguna",
        "laguna",
        {
            **GROUPED,
            "head_dim": D_HEAD,
            "mlp_layer_types": ["dense", "dense"],
            **SLIDING,
        },
    ),
    "afmoe": Recipe("AFMoE", "afmoe", _AFMOE),
    "qwen3_next": Recipe("Qwen 3 Next", "qwen3_next", _QWEN3_NEXT),
    "bitnet": Recipe("BitNet", "bitnet", GROUPED),
    "openai_gpt": Recipe(
        "OpenAI GPT", "openai-gpt", {"n_embd": D_MODEL, "n_layer": N_LAYERS, "n_head": N_HEADS, "n_positions": 32}
    ),
    "opt_post_norm": Recipe("OPT (norms after the blocks)", "opt", {**OPT, "do_layer_norm_before": False}),
    "gemma4_per_layer_inputs": Recipe(
        "Gemma 4 (with embeddings that layers add)",
        "gemma4_text",
        {
            **_GEMMA4,
            "global_head_dim": D_HEAD,
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": VOCAB,
        },
    ),
    "gemma4_two_head_sizes": Recipe(
        "Gemma 4 (with heads of two sizes)",
        "gemma4_text",
        {**_GEMMA4, "global_head_dim": 2 * D_HEAD, "hidden_size_per_layer_input": 0},
    ),
    "deepseek_v2": Recipe("DeepSeek-V2", "deepseek_v2", {**_LATENT_ATTENTION, "num_key_value_heads": N_HEADS}),
    "deepseek_v3": Recipe("DeepSeek-V3", "deepseek_v3", {**_LATENT_ATTENTION, "num_key_value_heads": N_HEADS}),
    "mamba": Recipe("Mamba", "mamba", {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "state_size": 4}),
    "jamba": Recipe(
        "Jamba",
        "jamba",
        {**GROUPED, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "use_mamba_kernels": False},
    ),
    "lfm2": Recipe("LFM 2", "lfm2", {**GROUPED, "layer_types": ["conv", "full_attention"]}),
    "falcon_h1": Recipe("Falcon-H1", "falcon_h1", _FALCON_H1),
    "recurrent_gemma": Recipe("RecurrentGemma", "recurrent_gemma", _RECURRENT_GEMMA),
    "bart": Recipe("BART", "bart", _ENCODER_DECODER),
    "t5": Recipe(
        "T5", "t5", {"d_model": D_MODEL, "num_layers": N_LAYERS, "num_heads": N_HEADS, "d_kv": D_HEAD, "d_ff": D_MLP}
    ),
}

ENCODER_DECODERS: tuple[str, ...] = ("bart", "t5")
