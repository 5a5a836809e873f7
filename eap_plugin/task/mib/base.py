"""What MIB's tasks share: the rows of a dataset's split, each made into a prompt pair or dropped with a reason."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, ClassVar

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.mib.dataset import ORGANIZATION, SPLITS, read_split
from eap_plugin.task.task import Dropped, PromptPair, Task, encode_task

Row = Mapping[str, Any]


class UnusableRowError(Exception):
    """A row that MIB leaves out with this tokenizer; the message says why."""


class MibTask(TaskGenerator):
    """A task whose prompts are the rows of a dataset of MIB (Mueller et al. 2025, arXiv 2504.13151).

    A right or wrong answer is the first token of its text on its own, without special tokens, as in MIB's code.

    Attributes:
        dataset: the dataset's name on the hub, without the organization.
        config: the dataset's configuration; ``None`` if it has only one.
        counterfactual: the field with the corrupt prompt and what belongs to it.
        split: the split that rows are taken from; attributions in MIB use "train".
    """

    reference = "Mueller et al. 2025, arXiv 2504.13151"
    dataset: ClassVar[str]
    config: ClassVar[str | None] = None
    counterfactual: ClassVar[str]
    split: str = SPLITS[0]

    def part(self, name: str) -> TaskGenerator:
        """Return the task on another split: ``mib/ioi:test``.

        Raises:
            UsageError: if MIB has no such split.
        """
        if name not in SPLITS:
            raise UsageError(f"task {self.name!r} has no split {name!r}; choose {', '.join(SPLITS)}")
        other = copy(self)
        other.split = name
        return other

    def generate(self, tokenizer: Any, *, n_prompts: int, seed: int, prepend_bos: bool) -> Task:
        """Take the first ``n_prompts`` usable rows of the split.

        Seed 0 takes them in the dataset's order, as MIB does; any other seed shuffles the rows first.

        Raises:
            UsageError: if the dataset's layout is not MIB's, or no row can be used with this tokenizer.
            EapPluginError: if the dataset cannot be read.
        """
        rows = read_split(self.dataset, self.config, self.split)
        name = self.name if self.split == SPLITS[0] else f"{self.name}:{self.split}"
        pairs = (self._pair(rows[index], tokenizer) for index in _order(len(rows), seed))
        return encode_task(name, pairs, tokenizer, prepend_bos=prepend_bos, limit=n_prompts)

    def _pair(self, row: Row, tokenizer: Any) -> PromptPair | Dropped:
        try:
            clean, corrupt = self._text(row, "prompt"), self._text(row, f"{self.counterfactual}.prompt")
            right, wrong = self.answers(row, tokenizer)
        except UnusableRowError as error:
            return Dropped(str(row["prompt"]), str(error))
        return PromptPair(clean, corrupt, (right,), (wrong,))

    def _text(self, row: Row, path: str) -> str:
        value = self.field(row, path)
        if not isinstance(value, str):
            raise UsageError(f"{path} of {ORGANIZATION}/{self.dataset} must be text, got {type(value).__name__}")
        return value

    @abstractmethod
    def answers(self, row: Row, tokenizer: Any) -> tuple[int, int]:
        """Return the token ids of the right and the wrong answer to a row's prompt.

        Raises:
            UnusableRowError: if MIB leaves the row out with this tokenizer.
            UsageError: if the row lacks a field.
        """

    def field(self, row: Row, path: str) -> Any:
        """Return the value at a path of a row, such as ``metadata.subject``.

        Raises:
            UnusableRowError: if the value is empty.
            UsageError: if the row has no such field.
        """
        value: Any = row
        for key in path.split("."):
            if value is None:
                break
            if not isinstance(value, Mapping) or key not in value:
                raise UsageError(
                    f"{ORGANIZATION}/{self.dataset} has no field {path!r}; task {self.name!r} needs MIB's own layout, "
                    f"with fields such as prompt and {self.counterfactual}.prompt"
                )
            value = value[key]
        if value is None:
            raise UnusableRowError(f"its {path} is empty")
        return value


def token_ids(text: str, tokenizer: Any) -> list[int]:
    """Return the token ids of a text on its own, without special tokens."""
    return list(tokenizer.encode(text, add_special_tokens=False))


def first_token(text: str, tokenizer: Any) -> int:
    """Return the id of the first token of an answer on its own.

    Raises:
        UnusableRowError: if the tokenizer does not know it.
    """
    ids = token_ids(text, tokenizer)
    if not ids or ids[0] == tokenizer.unk_token_id:
        raise UnusableRowError(f"the tokenizer does not know the answer {text!r}")
    return ids[0]


def _order(count: int, seed: int) -> Iterator[int]:
    order = list(range(count))
    if seed:
        random.Random(seed).shuffle(order)
    return iter(order)
