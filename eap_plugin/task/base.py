"""The base classes of task generators and of task file formats; importing this does not import PyTorch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from eap_plugin.errors import UsageError

if TYPE_CHECKING:
    from eap_plugin.task.task import PromptPair, Task


class TaskGenerator(ABC):
    """A task that generates its own prompts, for any tokenizer.

    Attributes:
        name: the task's name on the command line.
        summary: one line on what the model must do.
        reference: the publication that introduced the task.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]

    @abstractmethod
    def generate(self, tokenizer: Any, *, n_prompts: int, seed: int, prepend_bos: bool) -> Task:
        """Generate at most ``n_prompts`` different prompt pairs, always the same for the same tokenizer and seed.

        Args:
            tokenizer: a Hugging Face tokenizer.
            n_prompts: the number of pairs; fewer are returned only if the task has no more.
            seed: the seed of the random choices.
            prepend_bos: put the tokenizer's beginning-of-sequence token before each prompt.

        Raises:
            UsageError: if the task cannot be done with this tokenizer.
        """

    def n_pairs(self, tokenizer: Any) -> int | None:
        """Return how many different prompt pairs the task can make with a tokenizer; ``None`` if it is not known."""
        return None

    def part(self, name: str) -> TaskGenerator:
        """Return the task on one part of its data: the part ``test`` of ``mib/ioi`` is what ``mib/ioi:test`` names.

        Raises:
            UsageError: if there is no such part; by default a task has none.
        """
        raise UsageError(f"task {self.name!r} has no part {name!r}; write {self.name!r} alone")


class TaskFormat(ABC):
    """A format of files with prompt pairs.

    Attributes:
        name: the format's name in messages.
        summary: one line on what such a file contains.
        suffixes: the suffixes that such a file may have, such as ``(".json",)``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def accepts(self, path: Path) -> bool:
        """Return whether this looks like such a file; formats that share a suffix also look at the content."""
        return path.suffix.lower() in self.suffixes

    @abstractmethod
    def read(self, path: Path) -> list[PromptPair]:
        """Read the prompt pairs of the file.

        Raises:
            UsageError: if the file is malformed; the message gives the path and the position in the file.
        """
