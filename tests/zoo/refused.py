"""Models that are not scored: no decoders of attention and MLP blocks, or not yet known to TransformerLens."""

from __future__ import annotations

from tests.zoo.sizes import (
    D_HEAD,
    D_MLP,
    D_MODEL,
    GROUPED,
    N_HEADS,
    N_KV_HEADS,
    N_LAYERS,
    PLAIN,
    SIZES,
    WINDOW,
    Recipes,
)

_DBRX = {
    "d_model": D_MODEL,
    "n_heads": N_HEADS,
    "n_layers": N_LAYERS,
    "max_seq_len": 32,
    "attn_config": {"kv_n_heads": N_KV_HEADS, "clip_qkv": 8.0, "rope_theta": 10_000.0},
    "ffn_config": {"ffn_hidden_size": D_MLP, "moe_num_experts": 4, "moe_top_k": 2},
}

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

RECIPES: Recipes = {
    "dbrx": ("dbrx", _DBRX),
    "helium": ("helium", {**GROUPED, "head_dim": D_HEAD}),
    "falcon_new": (
        "falcon",
        {
            **SIZES,
            "max_position_embeddings": 32,
            "ffn_hidden_size": D_MLP,
            "new_decoder_architecture": True,
            "num_kv_heads": N_KV_HEADS,
        },
    ),
    "laguna": (
        "laguna",
        {
            **GROUPED,
            "head_dim": D_HEAD,
            "mlp_layer_types": ["dense", "dense"],
            "layer_types": ["sliding_attention", "full_attention"],
            "sliding_window": WINDOW,
        },
    ),
    "deepseek_v2": ("deepseek_v2", {**_LATENT_ATTENTION, "num_key_value_heads": N_HEADS}),
    "deepseek_v3": ("deepseek_v3", {**_LATENT_ATTENTION, "num_key_value_heads": N_HEADS}),
    "mamba": ("mamba", {"hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "state_size": 4}),
    "jamba": (
        "jamba",
        {**GROUPED, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "use_mamba_kernels": False},
    ),
    "bart": ("bart", _ENCODER_DECODER),
    "t5": ("t5", {"d_model": D_MODEL, "num_layers": N_LAYERS, "num_heads": N_HEADS, "d_kv": D_HEAD, "d_ff": D_MLP}),
}

ENCODER_DECODERS: tuple[str, ...] = ("bart", "t5")
