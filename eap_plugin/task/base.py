"""What a task generator and a task file format must offer; imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from eap_plugin.task.task import PromptPair, Task


class TaskGenerator(ABC):
    """Writes the prompts of a task for any tokenizer.

    Attributes:
        name: what the task is called on the command line.
        summary: what the model must do, in one line.
        reference: where the task was first described.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]

    @abstractmethod
    def generate(self, tokenizer: Any, *, n_prompts: int, seed: int, prepend_bos: bool) -> Task:
        """At most ``n_prompts`` different prompt pairs, the same ones for the same tokenizer and seed.

        Args:
            tokenizer: a Hugging Face tokenizer.
            n_prompts: how many pairs to keep; fewer come back only where the task has no more.
            seed: which of the task's prompts to take.
            prepend_bos: put the tokenizer's beginning-of-sequence token before each prompt.

        Raises:
            UsageError: if the tokenizer makes the task impossible.
        """


class TaskFormat(ABC):
    """Reads prompt pairs from a file.

    Attributes:
        name: what the format is called in messages.
        summary: what such a file holds, in one line.
        suffixes: the file name endings it may have, such as ``(".json",)``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]

    def accepts(self, path: Path) -> bool:
        """Whether this looks like such a file; formats that share a suffix look at the content too."""
        return path.suffix.lower() in self.suffixes

    @abstractmethod
    def read(self, path: Path) -> list[PromptPair]:
        """The prompt pairs of the file.

        Raises:
            UsageError: if the file is malformed; one line with the path and the place in it.
        """
