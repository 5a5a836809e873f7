"""Sampling of different prompt pairs, in an order that depends only on the seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.task.task import PromptPair, next_token_ids

TRIES_PER_PROMPT = 20
"""The number of draws per requested pair, after which sampling ends even if a task has too few pairs."""


def sample_pairs(write: Callable[[random.Random], PromptPair], *, n_prompts: int, seed: int) -> Iterator[PromptPair]:
    """Generate different pairs with ``write``, more than requested so that some may be dropped.

    Raises:
        UsageError: if ``n_prompts`` is not positive.
    """
    if n_prompts < 1:
        raise UsageError(f"the number of prompts must be at least 1, got {n_prompts}")
    rng = random.Random(seed)
    seen: set[PromptPair] = set()
    for _ in range(TRIES_PER_PROMPT * n_prompts):
        pair = write(rng)
        if pair not in seen:
            seen.add(pair)
            yield pair


def single_tokens(words: tuple[str, ...], tokenizer: Any, *, after: str) -> list[str]:
    """Return the words that, with a space before them, are one known token after the text ``after``."""
    ids = next_token_ids(after, [f" {word}" for word in words], tokenizer)
    return [word for word, token in zip(words, ids, strict=True) if token is not None]
