"""Drawing different prompt pairs in an order that depends on the seed alone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.task.task import PromptPair, next_token_ids

TRIES_PER_PROMPT = 20
"""How often a pair is drawn for each one wanted, which ends the search where a task has too few."""


def sample_pairs(write: Callable[[random.Random], PromptPair], *, n_prompts: int, seed: int) -> Iterator[PromptPair]:
    """Different pairs made by ``write``, more than are wanted so that some may be dropped.

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
    """Those words that, with a space before them, are one known token after the text ``after``."""
    ids = next_token_ids(after, [f" {word}" for word in words], tokenizer)
    return [word for word, token in zip(words, ids, strict=True) if token is not None]
