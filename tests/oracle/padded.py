"""Plain Hugging Face models on padded prompts."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


class Padded:
    """A plain model that is told where its prompts have padding, and gives the logits at each one's last real token.

    Real tokens are counted from the first one, by models that take positions.
    """

    def __init__(self, model: Any, mask: Tensor) -> None:
        """Wrap ``model`` for prompts, or copies of all of them, with padding where ``mask`` [batch, pos] is false."""
        self._model, self._mask = model, mask
        self._takes_positions = "position_ids" in inspect.signature(model.forward).parameters

    def __call__(self, tokens: Tensor, use_cache: bool = False) -> SimpleNamespace:
        """Run the model; its ``logits`` are [batch, 1, vocab]."""
        mask = self._mask.repeat(len(tokens) // len(self._mask), 1)
        told = {"attention_mask": mask.long()}
        if self._takes_positions:
            told["position_ids"] = (mask.long().cumsum(1) - 1).clamp_min(0)
        last = torch.stack([row.nonzero().max() for row in mask])
        logits = self._model(tokens, use_cache=use_cache, **told).logits
        return SimpleNamespace(logits=logits[torch.arange(len(tokens)), last][:, None])

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's."""
        return getattr(self._model, name)
