"""Prompt pairs that begin alike: they differ first at different positions, and are padded on either side."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eap_plugin.data.batch import Batch
from eap_plugin.runner import evaluation, fitting, program, shared_prefixes
from tests.support.zoo import FIRST_WORD, VOCAB, prompts

FIRST_DIFFERENCE = (5, 3, 5, 6, 2, 5)
FIRST_REAL = (0, 1, 0, 6, 0, 3)
AFTER_LAST = (8, 8, 6, 8, 7, 8)
N_POS = 8


def alike(padded: bool) -> Batch:
    """Make six pairs of eight tokens; if padded, some begin later and some end earlier, one after its common prefix."""
    clean, corrupt, right, wrong = prompts(len(FIRST_DIFFERENCE), N_POS, seed=1)
    position = torch.arange(N_POS)
    first = torch.tensor(FIRST_DIFFERENCE)[:, None]
    other = FIRST_WORD + (clean - FIRST_WORD + 1) % (VOCAB - FIRST_WORD)
    corrupt = torch.where(position < first, clean, torch.where(position == first, other, corrupt))
    real = (torch.tensor(FIRST_REAL)[:, None] <= position) & (position < torch.tensor(AFTER_LAST)[:, None])
    return Batch(clean, corrupt, right, wrong, real if padded else None)


def shared_prefix_lengths(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Share prefixes although prompts are short; return a list that gets the length of each microbatch's prefix."""
    lengths: list[int] = []

    def spy(*args: Any, **named: Any) -> Any:
        parts = split_for(*args, **named)
        lengths.extend(part.n_prefix for part in parts)
        return parts

    split_for = shared_prefixes.split_for
    monkeypatch.setattr(shared_prefixes, "PASS_OVERHEAD", {"cpu": 0})
    for caller in (evaluation, fitting, program):
        monkeypatch.setattr(caller, "split_for", spy)
    return lengths
