"""Prompts as a model runs them: tokens, padding, and where the logits are read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Prompts:
    """Prompts that are run through the model together.

    Attributes:
        tokens: token ids.
        attention_mask: true at real tokens, false at padding (left or right); ``None`` when nothing is padded.
        last: the position of each prompt whose logits are wanted; ``None`` for the last one.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Bool[Tensor, "batch pos"] | None = None
    last: Int[Tensor, "batch"] | None = None

    def __len__(self) -> int:
        """Return the number of prompts."""
        return len(self.tokens)

    @property
    def real(self) -> Bool[Tensor, "batch pos"]:
        """True at real tokens, also where nothing is padded."""
        return torch.ones_like(self.tokens, dtype=torch.bool) if self.attention_mask is None else self.attention_mask

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """The real token ids of each prompt."""
        return [tuple(ids[real].tolist()) for ids, real in zip(self.tokens.cpu(), self.real.cpu(), strict=True)]

    def repeat(self, n: int) -> Prompts:
        """Return the same prompts ``n`` times, one copy after another."""
        mask, last = self.attention_mask, self.last
        return Prompts(
            self.tokens.repeat(n, 1),
            None if mask is None else mask.repeat(n, 1),
            None if last is None else last.repeat(n),
        )

    def to(self, device: torch.device) -> Prompts:
        """Return the same prompts with every tensor on ``device``."""
        mask, last = self.attention_mask, self.last
        return Prompts(
            self.tokens.to(device),
            None if mask is None else mask.to(device),
            None if last is None else last.to(device),
        )
