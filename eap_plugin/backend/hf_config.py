"""What a Hugging Face model's configuration says of its residual stream, by the names that transformers gives it."""

from __future__ import annotations

from typing import Any

from torch import nn

from eap_plugin.errors import EapPluginError

UNEMBED = ("prediction_head", "project_out", "unembed")
"""What may follow the final norm, by its name in TransformerLens: the first that a model has reads what it gives."""


def residual_multiplier(block: nn.Module) -> float:
    """What a block multiplies attention's and the MLP's output by before it adds them to the residual stream."""
    return float(getattr(block, "residual_multiplier", 1.0))


def clip_of(config: Any) -> float | None:
    """The bound that q, k and v are clipped to after their projections; ``None`` if they are not."""
    bound = getattr(getattr(config, "attn_config", config), "clip_qkv", None)
    return float(bound) if bound else None


def require_a_residual_stream(model: Any) -> None:
    """Refuse a model in which what heads and MLPs write is changed once it is in the residual stream.

    Raises:
        EapPluginError: naming the architecture and the cause.
    """
    config = model.config.get_text_config()
    reason = ""
    if getattr(config, "do_layer_norm_before", True) is False:
        reason = "it normalizes the residual stream itself after each addition (do_layer_norm_before=False)"
    elif config.model_type == "openai-gpt":
        reason = "it normalizes the residual stream itself after each addition (post-norm)"
    elif getattr(config, "hidden_size_per_layer_input", 0):
        reason = "its blocks add embeddings of their own to it (hidden_size_per_layer_input)"
    if reason:
        raise EapPluginError(
            f"{type(model).__name__} has no residual stream that heads and MLPs only add to: {reason}; "
            f"edge scores are not defined for it, use a model without that"
        )
