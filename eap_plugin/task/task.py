"""A task: paired clean and corrupt prompts with right and wrong answers, as token ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from eap_plugin.data.batch import Batch, pad_answers
from eap_plugin.data.prompt_digest import prompt_digest
from eap_plugin.errors import UsageError

Ids = tuple[int, ...]


@dataclass(frozen=True)
class PromptPair:
    """A clean and a corrupt prompt, as text or token ids, with right and wrong answers to the clean one.

    An answer given as text is what follows the prompt, including any leading space.
    """

    clean: str | Ids
    corrupt: str | Ids
    answers: tuple[str | int, ...]
    wrong_answers: tuple[str | int, ...]


@dataclass(frozen=True)
class Dropped:
    """A prompt pair that was left out, and why."""

    prompt: str
    reason: str


@dataclass(frozen=True)
class Task:
    """Prompt pairs as token ids, of any lengths, which form one batch.

    Attributes:
        name: the task's name in reports.
        clean: token ids of each clean prompt.
        corrupt: token ids of each corrupt prompt, as many as of its clean prompt.
        answers: ids of the right next tokens of each prompt, at least one.
        wrong_answers: ids of the wrong next tokens of each prompt.
        dropped: the pairs that were left out, and why.
        source: the arguments of ``load_task`` that made it, so that it can be loaded again; empty if it was not loaded.
    """

    name: str
    clean: tuple[Ids, ...]
    corrupt: tuple[Ids, ...]
    answers: tuple[Ids, ...]
    wrong_answers: tuple[Ids, ...]
    dropped: tuple[Dropped, ...] = ()
    source: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of prompt pairs."""
        return len(self.clean)

    @cached_property
    def digest(self) -> str:
        """A hash of the token ids and answers, by which two score files can be compared for having the same prompts."""
        return prompt_digest([self.batch()])

    def without(self, other: Task, limit: int) -> Task:
        """Return the first ``limit`` prompt pairs whose clean prompt is no clean prompt of another task.

        Raises:
            UsageError: if there is none.
        """
        used = set(other.clean)
        rows = [row for row, ids in enumerate(self.clean) if ids not in used][:limit]
        if not rows:
            raise UsageError(f"task {self.name!r} has no prompts besides the {len(other)} that are used already")
        clean, corrupt, answers, wrong = (
            tuple(column[row] for row in rows)
            for column in (self.clean, self.corrupt, self.answers, self.wrong_answers)
        )
        return Task(self.name, clean, corrupt, answers, wrong)

    def batch(self) -> Batch:
        """Return all prompts as one batch, padded on the right where lengths differ, the shortest first.

        Sorting by length gives each microbatch prompts of similar lengths.
        """
        order = sorted(range(len(self)), key=lambda i: len(self.clean[i]))
        lengths = torch.tensor([len(self.clean[i]) for i in order])
        width = int(lengths.max())
        mask = torch.arange(width) < lengths[:, None]

        def padded(rows: Sequence[Ids]) -> torch.Tensor:
            return torch.tensor([list(rows[i]) + [0] * (width - len(rows[i])) for i in order])

        return Batch(
            clean=padded(self.clean),
            corrupt=padded(self.corrupt),
            answers=pad_answers([self.answers[i] for i in order]),
            wrong_answers=pad_answers([self.wrong_answers[i] for i in order]),
            attention_mask=None if bool(mask.all()) else mask,
        )


def encode_task(
    name: str,
    pairs: Iterable[PromptPair | Dropped],
    tokenizer: Any,
    *,
    prepend_bos: bool = False,
    limit: int | None = None,
) -> Task:
    """Turn prompt pairs into token ids, and drop pairs that cannot be used, with the reason.

    Answers that are not a single known token after the prompt are left out. A pair is dropped if this leaves no right
    answer, or none of several wrong ones, if the clean and the corrupt prompt are the same or differ in their number
    of tokens, or if an answer is both right and wrong.

    Args:
        name: the task's name.
        pairs: the prompt pairs, as text or ids; in place of one that is known to be unusable, why it is dropped.
        tokenizer: a Hugging Face tokenizer; it may be ``None`` if everything is given as ids.
        prepend_bos: put the tokenizer's beginning-of-sequence token before prompts given as text.
        limit: keep at most this many pairs.

    Raises:
        UsageError: if no pair is left (the message gives the most common reason), if there is text but no tokenizer,
            or if ``prepend_bos`` is set and the tokenizer has no such token.
    """
    kept: list[tuple[Ids, Ids, Ids, Ids]] = []
    dropped: list[Dropped] = []
    for pair in pairs:
        if limit is not None and len(kept) >= limit:
            break
        if isinstance(pair, Dropped):
            dropped.append(pair)
            continue
        try:
            kept.append(_encode_pair(pair, tokenizer, prepend_bos))
        except _UnusablePairError as error:
            dropped.append(Dropped(str(pair.clean), str(error)))
    if not kept:
        reasons = [d.reason for d in dropped]
        why = max(reasons, key=reasons.count) if reasons else "it holds no prompt pair"
        raise UsageError(f"task {name!r} has no usable prompt pair: {why}")
    clean, corrupt, answers, wrong = zip(*kept, strict=True)
    return Task(name, clean, corrupt, answers, wrong, tuple(dropped))


class _UnusablePairError(Exception):
    """A prompt pair that cannot be used; the message says why."""


def _encode_pair(pair: PromptPair, tokenizer: Any, prepend_bos: bool) -> tuple[Ids, Ids, Ids, Ids]:
    clean = _encode(pair.clean, tokenizer, prepend_bos)
    corrupt = _encode(pair.corrupt, tokenizer, prepend_bos)
    if len(clean) != len(corrupt):
        raise _UnusablePairError(
            f"clean has {len(clean)} tokens and corrupt {len(corrupt)}; they must have the same number"
        )
    if clean == corrupt:
        raise _UnusablePairError("clean and corrupt are the same tokens")
    if not pair.answers:
        raise _UnusablePairError("it has no right answer")
    answers, wrong = (_answer_ids(pair.clean, group, tokenizer) for group in (pair.answers, pair.wrong_answers))
    if set(answers) & set(wrong):
        raise _UnusablePairError("an answer is both right and wrong")
    return clean, corrupt, answers, wrong


def _encode(prompt: str | Ids, tokenizer: Any, prepend_bos: bool) -> Ids:
    if not isinstance(prompt, str):
        return tuple(int(i) for i in prompt)
    ids = _text_ids(prompt, tokenizer)
    if not ids:
        raise _UnusablePairError("the prompt is empty")
    if not prepend_bos:
        return ids
    if tokenizer.bos_token_id is None:
        raise UsageError("the tokenizer has no beginning-of-sequence token; use prepend_bos=False")
    return (int(tokenizer.bos_token_id), *ids)


def _text_ids(text: str, tokenizer: Any) -> Ids:
    if tokenizer is None:
        raise UsageError("the prompts are text but the model has no tokenizer; give token ids, or a tokenizer")
    return tuple(tokenizer.encode(text, add_special_tokens=False))


def next_token_ids(prompt: str, texts: Sequence[str], tokenizer: Any) -> list[int | None]:
    """Return the id of each text as a single token after ``prompt``; ``None`` if it is not one known token."""
    before = _text_ids(prompt, tokenizer)
    found: list[int | None] = []
    for text in texts:
        ids = _text_ids(prompt + text, tokenizer)
        added = ids[len(before) :] if ids[: len(before)] == before else ()
        found.append(added[0] if len(added) == 1 and added[0] != tokenizer.unk_token_id else None)
    return found


def _answer_ids(prompt: str | Ids, answers: tuple[str | int, ...], tokenizer: Any) -> Ids:
    texts = [a for a in answers if isinstance(a, str)]
    before = prompt if isinstance(prompt, str) else ""
    encoded = iter(next_token_ids(before, texts, tokenizer) if texts else [])
    found = [next(encoded) if isinstance(a, str) else a for a in answers]
    ids = tuple(i for i in found if i is not None)
    if answers and not ids:
        raise _UnusablePairError(f"the answer {answers[0]!r} is not a single known token after the prompt")
    return ids
