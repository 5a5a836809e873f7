"""What a Hugging Face model's configuration says of its residual stream, by the names that transformers gives it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from eap_plugin.errors import EapPluginError

UNEMBED = ("prediction_head", "project_out", "unembed")
"""What may follow the final norm, by its name in TransformerLens: the first that a model has reads what it gives."""


def residual_multiplier(block: nn.Module) -> float:
    """What a block multiplies attention's and the MLP's output by before it adds them to the residual stream."""
    return float(getattr(block, "residual_multiplier", 1.0))


def clip_of(model: Any) -> float | None:
    """The bound that a model clips q, k and v to after their projections; ``None`` if it does not."""
    config = _text_config(model)
    bound = getattr(getattr(config, "attn_config", config), "clip_qkv", None)
    return float(bound) if bound else None


def require_a_residual_stream(model: Any) -> None:
    """Refuse a model in which what heads and MLPs write is changed once it is in the residual stream.

    Raises:
        EapPluginError: naming the architecture and the cause.
    """
    config = _text_config(model)
    reason = ""
    if getattr(config, "do_layer_norm_before", True) is False:
        reason = "it normalizes the residual stream itself after each addition (do_layer_norm_before=False)"
    elif getattr(config, "model_type", "") == "openai-gpt":
        reason = "it normalizes the residual stream itself after each addition (post-norm)"
    elif getattr(config, "hidden_size_per_layer_input", 0):
        reason = "its blocks add embeddings of their own to it (hidden_size_per_layer_input)"
    elif any(_scales(name, buffer) for name, buffer in model.named_buffers()):
        reason = "its blocks multiply all of it (layer_scalar)"
    if reason:
        raise EapPluginError(
            f"{type(model).__name__} has no residual stream that heads and MLPs only add to: {reason}; "
            f"edge scores are not defined for it, use a model without that"
        )


def _text_config(model: Any) -> Any:
    """The configuration of the language model; ``None`` for TransformerLens' own models, which have none."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _scales(name: str, buffer: Tensor) -> bool:
    """Whether a buffer is a factor of the residual stream other than 1; unknown, hence no, if it is not loaded yet."""
    return name.endswith("layer_scalar") and not buffer.is_meta and bool((buffer != 1).any())
