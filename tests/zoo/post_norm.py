"""Models that normalize what a block gives before it is added to the residual stream."""

from __future__ import annotations

from tests.zoo.sizes import D_HEAD, GROUPED, SLIDING, Recipes

_GEMMA = {**GROUPED, **SLIDING, "head_dim": 2 * D_HEAD, "query_pre_attn_scalar": 16}

RECIPES: Recipes = {
    "gemma2": ("gemma2", {**_GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}),
    "gemma3": ("gemma3_text", _GEMMA),
    "olmo2": ("olmo2", GROUPED),
    "exaone4": ("exaone4", {**GROUPED, **SLIDING}),
    "glm4": ("glm4", {**GROUPED, "head_dim": D_HEAD, "attention_bias": True}),
}
