"""Properties of the residual stream, read from the configuration of a Hugging Face model."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from eap_plugin.errors import EapPluginError

UNEMBED = ("prediction_head", "project_out", "unembed")
"""TransformerLens' names of the modules that can follow the final norm; the first that a model has does."""


def residual_multiplier(block: nn.Module) -> float:
    """Return the factor by which a block multiplies attention and MLP outputs before adding them to the stream."""
    return float(getattr(block, "residual_multiplier", 1.0))


def clip_of(model: Any) -> float | None:
    """Return the bound to which a model clips q, k and v after their projections; ``None`` if it does not clip them."""
    config = _text_config(model)
    bound = getattr(getattr(config, "attn_config", config), "clip_qkv", None)
    return float(bound) if bound else None


def require_a_residual_stream(model: Any) -> None:
    """Refuse a model that changes its residual stream other than by adding the outputs of heads and MLPs.

    Raises:
        EapPluginError: naming the architecture and the reason.
    """
    config = _text_config(model)
    reason = ""
    if getattr(config, "do_layer_norm_before", True) is False:
        reason = "it normalizes the residual stream itself after each addition (do_layer_norm_before=False)"
    elif getattr(config, "model_type", "") == "openai-gpt":
        reason = "it normalizes the residual stream itself after each addition (post-norm)"
    elif getattr(config, "hidden_size_per_layer_input", 0):
        reason = "its blocks add per-layer embeddings to it (hidden_size_per_layer_input)"
    elif any(_scales(name, buffer) for name, buffer in model.named_buffers()):
        reason = "its blocks rescale all of it (layer_scalar)"
    if reason:
        raise EapPluginError(
            f"{type(model).__name__} has no residual stream that heads and MLPs only add to: {reason}; "
            f"edge scores are not defined for it, so use another model"
        )


def _text_config(model: Any) -> Any:
    """Return the language model's configuration; ``None`` for TransformerLens' native models, which have none."""
    config: Any = getattr(model, "config", None)
    return config.get_text_config() if hasattr(config, "get_text_config") else config


def _scales(name: str, buffer: Tensor) -> bool:
    """Return whether a buffer scales the residual stream by anything but 1; false if its value is not loaded yet."""
    return name.endswith("layer_scalar") and not buffer.is_meta and bool((buffer != 1).any())
