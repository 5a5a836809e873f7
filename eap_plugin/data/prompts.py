"""Prompts as a model runs them: tokens, padding, where the logits are read, and what was run before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor


@dataclass(frozen=True)
class Prefix:
    """The first tokens of some prompts, which were run already; later tokens attend to their keys and values.

    Attributes:
        n_pos: the number of tokens of each prompt, padding included.
        cache: the keys and values of all layers, in the backend's own order and shapes; the first axis is the prompt.
        attention_mask: true at real tokens, false at padding; ``None`` when nothing is padded.
    """

    n_pos: int
    cache: tuple[Tensor, ...]
    attention_mask: Bool[Tensor, "batch prefix"] | None = None

    def map(self, change: Callable[[Tensor], Tensor]) -> Prefix:
        """Return a prefix with ``change`` applied to every tensor."""
        mask = self.attention_mask
        return Prefix(self.n_pos, tuple(change(x) for x in self.cache), None if mask is None else change(mask))


@dataclass(frozen=True)
class Prompts:
    """Prompts that are run through the model together.

    Attributes:
        tokens: token ids; those after the prefix, if there is one.
        attention_mask: true at real tokens, false at padding (left or right); ``None`` when nothing is padded.
        last: the position in ``tokens`` of each prompt whose logits are wanted; ``None`` for the last one.
        prefix: what comes before ``tokens`` and was run already; ``None`` for nothing. It may have fewer rows than
            ``tokens``, which are then several copies of as many prompts, one copy after another.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Bool[Tensor, "batch pos"] | None = None
    last: Int[Tensor, "batch"] | None = None
    prefix: Prefix | None = None

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

    @property
    def whole_mask(self) -> Bool[Tensor, "batch all_pos"] | None:
        """The attention mask of prefix and tokens together; ``None`` when nothing is padded."""
        if self.prefix is None or self.prefix.attention_mask is None or self.attention_mask is None:
            return self.attention_mask
        before = self.prefix.attention_mask
        return torch.cat([before.repeat(len(self) // len(before), 1), self.attention_mask], 1)

    def split(self, n_pos: int) -> tuple[Prompts, Prompts]:
        """Return the first ``n_pos`` tokens of each prompt, and the others; the logits wanted must be of the others."""
        mask, last = self.attention_mask, self.last
        return (
            Prompts(self.tokens[:, :n_pos], None if mask is None else mask[:, :n_pos]),
            Prompts(
                self.tokens[:, n_pos:],
                None if mask is None else mask[:, n_pos:],
                None if last is None else last - n_pos,
            ),
        )

    def select(self, rows: slice) -> Prompts:
        """Return some of the prompts."""
        return self._map(lambda x: x[rows])

    def repeat(self, n: int) -> Prompts:
        """Return the same prompts ``n`` times, one copy after another; their prefix is not copied."""
        copies = replace(self, prefix=None)._map(lambda x: x.repeat(n, *[1] * (x.ndim - 1)))
        return replace(copies, prefix=self.prefix)

    def to(self, device: torch.device) -> Prompts:
        """Return the same prompts with every tensor on ``device``."""
        return self._map(lambda x: x.to(device))

    def _map(self, change: Callable[[Tensor], Tensor]) -> Prompts:
        mask, last, prefix = self.attention_mask, self.last, self.prefix
        return Prompts(
            change(self.tokens),
            None if mask is None else change(mask),
            None if last is None else change(last),
            None if prefix is None else prefix.map(change),
        )
