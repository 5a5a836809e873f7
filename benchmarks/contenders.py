"""The contenders: the passes that any gradient method needs, and edge attribution on top of them.

All run GPT-2-small's shape (12 layers, 12 heads, d_model 768, vocabulary 50257) with random weights, float32, frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import nnsight
import torch
from shapes import gpt2, loss, plain_passes, random_batch
from torch import Tensor
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch
from transformers import GPT2Config, GPT2LMHeadModel

import eap_plugin
from eap_plugin import Batch

Contender = Callable[[Batch], object]


@cache
def plain_model() -> GPT2LMHeadModel:
    """Make Hugging Face's model with its default attention (sdpa)."""
    torch.manual_seed(0)
    return gpt2().eval().requires_grad_(False)


@cache
def bridge() -> Any:
    """Make the same model as a ``TransformerBridge``."""
    model = plain_model.__wrapped__()  # not the cached one, since the bridge changes the model
    return build_bridge_from_module(model, "GPT2LMHeadModel", hf_config=model.config, model_name="gpt2-shape")


@cache
def traced() -> Any:
    """Make the same model for nnsight."""
    return nnsight.NNsight(plain_model.__wrapped__())


def make_batch(n_prompts: int, n_tokens: int) -> Batch:
    """Make random prompts, each with one right and one wrong answer."""
    return random_batch(n_prompts, n_tokens, GPT2Config().vocab_size)


def floor(batch: Batch) -> None:
    """Run corrupt prompts forward without gradients, and clean prompts forward and back to the embeddings."""
    plain_passes(plain_model(), batch)


def floor_last_logits(batch: Batch) -> None:
    """Run the same passes, computing only the logits of the last position."""
    plain_passes(plain_model(), batch, logits_to_keep=1)


def bridge_passes(batch: Batch) -> None:
    """Run the floor's passes through the bridge."""
    model = bridge()
    with torch.no_grad():
        model(batch.corrupt, return_type="logits", use_cache=False)
    hooks = [("blocks.0.hook_in", lambda value, hook: value.detach().requires_grad_())]
    loss(model.run_with_hooks(batch.clean, return_type="logits", use_cache=False, fwd_hooks=hooks), batch).backward()  # type: ignore[no-untyped-call]


def eap(batch: Batch) -> None:
    """Run ``eap_plugin.prune_scores``, including its self-check."""
    eap_plugin.prune_scores(bridge(), [batch])


def eap_nnsight(batch: Batch) -> None:
    """Run the same on nnsight, in process."""
    eap_plugin.prune_scores(traced(), [batch])


def transformer_lens(batch: Batch) -> None:
    """Run TransformerLens' own edge attribution, which takes one prompt pair at a time and keeps scores by position."""

    def metric(logits: Tensor) -> Tensor:
        return -loss(logits, batch.select(slice(0, 1)))

    weight = bridge().W_E  # attribution_patch needs a differentiable model, and this one is frozen
    weight.requires_grad_(True)
    attribution_patch(bridge(), batch.clean, batch.corrupt, metric, EdgeAttributionConfig(granularity="edge"))
    weight.requires_grad_(False)


CONTENDERS: dict[str, Contender] = {
    "floor": floor,
    "floor, last logits only": floor_last_logits,
    "bridge's passes": bridge_passes,
    "eap-plugin, eap": eap,
    "eap-plugin, eap on nnsight": eap_nnsight,
    "TransformerLens, attribution_patch": transformer_lens,
}
FLOOR, BRIDGE, EAP, TRANSFORMER_LENS = (
    "floor",
    "bridge's passes",
    "eap-plugin, eap",
    "TransformerLens, attribution_patch",
)
