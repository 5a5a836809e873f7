"""Bridges around models in memory."""

from __future__ import annotations

from typing import Any

from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import PreTrainedModel


def bridge(model: PreTrainedModel, name: str = "test-model") -> Any:
    """Make a ``TransformerBridge`` of a Hugging Face model in memory, without a tokenizer."""
    architecture = type(model).__name__
    return build_bridge_from_module(model, architecture, hf_config=model.config, dtype=model.dtype, model_name=name)
