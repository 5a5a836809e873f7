"""Greater-than: an event that began in 1732 and ended in 17.. must have ended in a later year."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.sampling import sample_pairs
from eap_plugin.task.task import Dropped, PromptPair, Task, encode_task, next_token_ids

NOUNS = (
    "alliance", "argument", "boycott", "crisis", "debate", "drought", "exhibition", "famine", "feud",
    "friendship", "illness", "journey", "marriage", "occupation", "partnership", "peace", "reform",
    "siege", "strike", "treaty", "truce", "voyage", "war", "winter",
)  # fmt: skip
CENTURIES = range(11, 18)
YEARS = range(2, 99)


class GreaterThan(TaskGenerator):
    """Greater-than: later years of the century are right, the others wrong; corrupt prompts begin in the year 01.

    An answer is the year's last two digits if the tokenizer splits years that way (``17|32``). Otherwise it is the
    tens digit (``1|7|3|2``), and the decade of the start year is neither right nor wrong.
    """

    name = "greater-than"
    summary = "complete an end year so that it is later than the start year"
    reference = "Hanna et al. 2023, arXiv 2305.00586"

    def n_pairs(self, tokenizer: Any) -> int:
        """See ``TaskGenerator.n_pairs``: a noun, a century and a start year."""
        years = 80 if _digits_per_token(tokenizer) == 1 else len(YEARS)
        return len(NOUNS) * len(CENTURIES) * years

    def generate(self, tokenizer: Any, *, n_prompts: int, seed: int, prepend_bos: bool) -> Task:
        """See ``TaskGenerator.generate``; years that the tokenizer does not split after the century are dropped."""
        write = _write_tens if _digits_per_token(tokenizer) == 1 else _write_two_digits
        merged: list[Dropped] = []

        def split_pairs() -> Iterator[PromptPair]:
            for pair in sample_pairs(write, n_prompts=n_prompts, seed=seed):
                reason = _merged_years(pair, tokenizer)
                if reason is None:
                    yield pair
                else:
                    merged.append(Dropped(str(pair.clean), reason))

        task = encode_task(self.name, split_pairs(), tokenizer, prepend_bos=prepend_bos, limit=n_prompts)
        return replace(task, dropped=(*merged, *task.dropped))


def later_years(year: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the two-digit endings of years after ``year`` (0 to 99), and all others."""
    endings = tuple(f"{y:02d}" for y in range(100))
    return endings[year + 1 :], endings[: year + 1]


def _digits_per_token(tokenizer: Any) -> int:
    """Return how many digits after the century the tokenizer makes one token: 2 or 1."""
    for ending, digits in (("32", 2), ("3", 1)):
        found = [next_token_ids(_prompt("war", c, "32"), [ending], tokenizer) for c in CENTURIES]
        if found.count([None]) < len(CENTURIES) / 2:
            return digits
    raise UsageError(
        f"task {GreaterThan.name!r} needs a tokenizer that splits years into two-digit or one-digit tokens, "
        f"but this one reads ' 1732' as {tokenizer.tokenize(' 1732')}; use another task"
    )


def _prompt(noun: str, century: int, ending: str) -> str:
    return f"The {noun} lasted from the year {century}{ending} to the year {century}"


def _write_two_digits(rng: random.Random) -> PromptPair:
    noun, century, year = rng.choice(NOUNS), rng.choice(CENTURIES), rng.choice(YEARS)
    later, others = later_years(year)
    return PromptPair(_prompt(noun, century, f"{year:02d}"), _prompt(noun, century, "01"), later, others)


def _write_tens(rng: random.Random) -> PromptPair:
    noun, century, tens, ones = rng.choice(NOUNS), rng.choice(CENTURIES), rng.randint(1, 8), rng.randint(0, 9)
    later, earlier = (tuple(str(d) for d in group) for group in (range(tens + 1, 10), range(tens)))
    return PromptPair(_prompt(noun, century, f"{tens}{ones}"), _prompt(noun, century, "01"), later, earlier)


def _merged_years(pair: PromptPair, tokenizer: Any) -> str | None:
    """Return an error if the tokenizer does not split a pair's start years after the century, else ``None``."""
    for prompt in (str(pair.clean), str(pair.corrupt)):
        start = prompt.partition(" to the year")[0]
        whole, century = (tokenizer.encode(text, add_special_tokens=False) for text in (start, start[:-2]))
        if whole[: len(century)] != century:
            return f"the tokenizer does not split the year {start[-4:]} after its century"
    return None
