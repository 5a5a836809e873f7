"""Models that normalize a block's output before it is added to the residual stream."""

from __future__ import annotations

from tests.support.zoo.sizes import D_HEAD, GROUPED, SLIDING, Recipe

_GEMMA = {**GROUPED, **SLIDING, "head_dim": 2 * D_HEAD, "query_pre_attn_scalar": 16}

RECIPES: dict[str, Recipe] = {
    "gemma2": Recipe("Gemma 2", "gemma2", {**_GEMMA, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0}),
    "gemma3": Recipe("Gemma 3", "gemma3_text", _GEMMA),
    "olmo2": Recipe("OLMo 2", "olmo2", GROUPED),
    "olmo3": Recipe("OLMo 3", "olmo3", {**GROUPED, **SLIDING}),
    "exaone4": Recipe("EXAONE 4", "exaone4", {**GROUPED, **SLIDING}),
    "glm4": Recipe("GLM-4", "glm4", {**GROUPED, "head_dim": D_HEAD, "attention_bias": True}),
}
