"""``HookedTransformer``s with the recorded weights."""

from __future__ import annotations

from typing import Any

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from tests.support import golden_cases as golden


def hooked_model(name: str, dtype: str) -> HookedTransformer:
    """Load one of the models on which golden outputs were recorded."""
    c: dict[str, Any] = dict(golden.config(name)["config"])
    for key in ("seed", "zero_bias", "zero_b_U", "scale", "dtype"):
        c.pop(key)
    if c["d_mlp"] is None:
        c.pop("d_mlp")
    cfg = HookedTransformerConfig(**c, dtype=getattr(torch, dtype), device="cpu")
    model = HookedTransformer(cfg)
    state = {k: v.to(cfg.dtype) for k, v in golden.weights(name).items()}
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys
    assert not [k for k in missing.missing_keys if not k.endswith(("mask", "IGNORE", "rotary_sin", "rotary_cos"))]
    return model.eval()
