"""Mixtures of experts."""

from __future__ import annotations

from tests.zoo.llama import GRANITE
from tests.zoo.sizes import D_HEAD, D_MLP, EXPERTS, GROUPED, ROTARY, SLIDING, Recipes

_QWEN = {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2}

RECIPES: Recipes = {
    "mixtral": ("mixtral", {**GROUPED, **EXPERTS}),
    "granitemoe": ("granitemoe", {**GRANITE, **EXPERTS}),
    "qwen3_moe": ("qwen3_moe", {**_QWEN, "moe_intermediate_size": D_MLP, "head_dim": D_HEAD}),
    "olmoe": ("olmoe", _QWEN),
    "gpt_oss": ("gpt_oss", {**GROUPED, **SLIDING, **EXPERTS, **ROTARY, "head_dim": D_HEAD}),
}
