"""Mixtures of experts."""

from __future__ import annotations

from tests.zoo.llama import GRANITE
from tests.zoo.sizes import D_HEAD, D_MLP, EXPERTS, GROUPED, ROTARY, SLIDING, WINDOW, Recipe

_QWEN = {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}
_ERNIE = {
    **GROUPED,
    "use_bias": True,
    "moe_intermediate_size": D_MLP,
    "moe_k": 2,
    "moe_num_experts": 4,
    "moe_num_shared_experts": 1,
}
_GLM = {
    **GROUPED,
    "head_dim": D_HEAD,
    "attention_bias": True,
    "use_qk_norm": True,
    "moe_intermediate_size": D_MLP,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
}
_LLAMA4 = {
    **GROUPED,
    "head_dim": D_HEAD,
    "num_local_experts": 4,
    "moe_layers": [1],
    "intermediate_size_mlp": D_MLP,
    "no_rope_layers": [1, 0],
    "attention_chunk_size": WINDOW,
    "floor_scale": 2,  # of the scale of queries that grows with their position
}

RECIPES: dict[str, Recipe] = {
    "mixtral": Recipe("Mixtral", "mixtral", {**GROUPED, **EXPERTS}),
    "granitemoe": Recipe("GraniteMoE", "granitemoe", {**GRANITE, **EXPERTS}),
    "qwen3_moe": Recipe("Qwen 3 MoE", "qwen3_moe", {**_QWEN, "moe_intermediate_size": D_MLP, "head_dim": D_HEAD}),
    "qwen2_moe": Recipe(
        "Qwen 2 MoE", "qwen2_moe", {**_QWEN, "moe_intermediate_size": D_MLP, "shared_expert_intermediate_size": D_MLP}
    ),
    "olmoe": Recipe("OLMoE", "olmoe", _QWEN),
    "flex_olmo": Recipe("FlexOlmo", "flex_olmo", _QWEN),
    "minimax_m2": Recipe("MiniMax-M2", "minimax_m2", {**GROUPED, **EXPERTS, "head_dim": D_HEAD}),
    "ernie4_5_moe": Recipe("ERNIE 4.5 MoE", "ernie4_5_moe", _ERNIE),
    "glm4_moe": Recipe("GLM-4 MoE", "glm4_moe", _GLM),
    "llama4": Recipe("Llama 4", "llama4_text", _LLAMA4),
    "gpt_oss": Recipe("gpt-oss", "gpt_oss", {**GROUPED, **SLIDING, **EXPERTS, **ROTARY, "head_dim": D_HEAD}),
}
