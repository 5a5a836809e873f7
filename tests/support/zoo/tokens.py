"""Prompts for the zoo's models."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.support.zoo.sizes import VOCAB

FIRST_WORD = 3
"""Ids below this are special tokens, which prompts do not contain."""


def prompts(n: int, length: int, vocab: int = VOCAB, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Make clean and corrupt token ids, each [n, length], with one right and one wrong answer, each [n, 1].

    A corrupt prompt differs from its clean one at some positions, at least one and never the first.
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int, low: int = FIRST_WORD, high: int = vocab) -> Tensor:
        return torch.randint(low, high, shape, generator=generator)

    def other_than(ids: Tensor) -> Tensor:
        shift = draw(*ids.shape, low=1, high=vocab - FIRST_WORD)
        return FIRST_WORD + (ids - FIRST_WORD + shift) % (vocab - FIRST_WORD)

    clean = draw(n, length)
    changed = torch.rand((n, length), generator=generator) < 0.4
    changed.scatter_(1, draw(n, 1, low=1, high=length), True)
    changed[:, 0] = False
    corrupt = torch.where(changed, other_than(clean), clean)
    answers = draw(n, 1)
    return clean, corrupt, answers, other_than(answers)
