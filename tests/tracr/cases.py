"""What is to be explained of the compiled programs: prompt pairs whose right and wrong answers are known."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from eap_plugin.data.batch import Batch
from tests.tracr.programs import BOS, LENGTH, PAD, Program

N_PAIRS = 32
Tokens = list[str]


@dataclass(frozen=True)
class Pair:
    """A clean and a corrupt prompt, and the right and the wrong next token."""

    clean: Tokens
    corrupt: Tokens
    right: str
    wrong: str


def first_tokens(rng: random.Random, vocab: str) -> Iterator[Pair]:
    """Make pairs for ``reverse``, whose last output is the first token: prompts that differ in their first token."""
    while True:
        clean, corrupt = rng.choices(vocab, k=LENGTH), rng.choices(vocab, k=LENGTH)
        if clean[0] != corrupt[0]:
            yield Pair(clean, corrupt, clean[0], corrupt[0])


def lengths(rng: random.Random, vocab: str) -> Iterator[Pair]:
    """Make pairs for ``reverse``, which depends on the prompt's length: the corrupt one also lacks a middle token."""
    for pair in first_tokens(rng, vocab):
        pair.corrupt[rng.randrange(1, LENGTH - 1)] = PAD
        yield pair


def shares_of_x(rng: random.Random, vocab: str) -> Iterator[Pair]:
    """Make pairs for ``xproportion``, whose logit of x is the share of x, which is larger in the clean prompt."""
    while True:
        clean, corrupt = rng.choices(vocab, k=LENGTH), rng.choices(vocab, k=LENGTH)
        if clean.count("x") > corrupt.count("x"):
            yield Pair(clean, corrupt, "x", "w")


@dataclass(frozen=True)
class Case:
    """A program, which of its circuits is looked for, and the prompt pairs that need it."""

    program: str
    circuit: str
    pairs: Callable[[random.Random, str], Iterator[Pair]]


CASES = {
    "reverse": Case("reverse", "tokens", first_tokens),
    "reverse, lengths": Case("reverse", "lengths", lengths),
    "xproportion": Case("xproportion", "tokens", shares_of_x),
}


def batch(case: Case, program: Program) -> Batch:
    """Return the same prompt pairs on every call."""
    pairs = list(islice(case.pairs(random.Random(0), program.vocab), N_PAIRS))

    def ids(rows: list[Tokens]) -> torch.Tensor:
        return torch.tensor([[program.token_ids[token] for token in row] for row in rows])

    return Batch(
        clean=ids([[BOS, *pair.clean] for pair in pairs]),
        corrupt=ids([[BOS, *pair.corrupt] for pair in pairs]),
        answers=ids([[pair.right] for pair in pairs]),
        wrong_answers=ids([[pair.wrong] for pair in pairs]),
    )
