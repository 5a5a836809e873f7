"""Indirect object identification: to which of two people something was given."""

from __future__ import annotations

import random
from math import perm
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.sampling import sample_pairs, single_tokens
from eap_plugin.task.task import PromptPair, Task, encode_task

NAMES = (
    "Alice", "Anna", "David", "Emma", "Frank", "Helen", "Henry", "James", "Jane", "John", "Julia",
    "Kate", "Laura", "Lucy", "Mark", "Martin", "Mary", "Oscar", "Paul", "Peter", "Robert", "Sarah",
    "Simon", "Tom",
)  # fmt: skip
PLACES = ("garden", "hotel", "kitchen", "library", "museum", "office", "park", "station")
THINGS = ("ball", "book", "coin", "cup", "drink", "flower", "letter", "ring")
TEMPLATES = (
    "When {first} and {second} met at the {place}, {giver} handed a {thing} to",
    "After {first} and {second} went to the {place}, {giver} gave a {thing} to",
    "While {first} sat with {second} in the {place}, {giver} handed a {thing} to",
    "Once {first} and {second} were in the {place}, {giver} gave the {thing} to",
    "Yesterday {first} and {second} walked to the {place}, and {giver} gave a {thing} to",
    "Because {first} and {second} were friends, {giver} brought a {thing} to the {place} and gave it to",
)
"""Every name follows a space, so that it is the same token at every position."""


class IOI(TaskGenerator):
    """Indirect object identification: the right answer is the person who receives, the wrong one the giver.

    The two names come in either order before the giver's is repeated (ABBA and BABA). In the corrupt prompt a third
    person gives (ABC), so nothing tells the two apart.
    """

    name = "ioi"
    summary = "name the person who is given something, not the one who gives"
    reference = "Wang et al. 2022, arXiv 2211.00593"

    def n_pairs(self, tokenizer: Any) -> int:
        """See ``TaskGenerator.n_pairs``: three different names, two of them in either order, and a scene."""
        return 2 * perm(len(_names(tokenizer)), 3) * len(TEMPLATES) * len(PLACES) * len(THINGS)

    def generate(self, tokenizer: Any, *, n_prompts: int, seed: int, prepend_bos: bool) -> Task:
        """See ``TaskGenerator.generate``; only names that are single tokens are used."""
        names = _names(tokenizer)
        if len(names) < 3:
            raise UsageError(
                f"task {self.name!r} needs three names that are single tokens, but this tokenizer has "
                f"{len(names)} of {len(NAMES)}; use another task or prompts of your own"
            )
        pairs = sample_pairs(lambda rng: _write(rng, names), n_prompts=n_prompts, seed=seed)
        return encode_task(self.name, pairs, tokenizer, prepend_bos=prepend_bos, limit=n_prompts)


def _names(tokenizer: Any) -> list[str]:
    return single_tokens(NAMES, tokenizer, after="When")


def _write(rng: random.Random, names: list[str]) -> PromptPair:
    receiver, giver, third = rng.sample(names, 3)
    first, second = rng.choice([(receiver, giver), (giver, receiver)])
    template = rng.choice(TEMPLATES)
    scene = {"first": first, "second": second, "place": rng.choice(PLACES), "thing": rng.choice(THINGS)}
    return PromptPair(
        clean=template.format(giver=giver, **scene),
        corrupt=template.format(giver=third, **scene),
        answers=(f" {receiver}",),
        wrong_answers=(f" {giver}",),
    )
