"""MIB's multiple-choice questions, whose answer is the letter of a choice."""

from __future__ import annotations

from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.task.mib.base import MibTask, Row, UnusableRowError, first_token, token_ids


class MultipleChoice(MibTask):
    """A question with lettered choices; in the corrupt prompt the letters are others.

    Rows are left out unless the letters of the right choice in both prompts have equally many tokens.
    """

    counterfactual = "symbol_counterfactual"

    def answers(self, row: Row, tokenizer: Any) -> tuple[int, int]:
        """See ``MibTask.answers``; the wrong answer is the right one to the corrupt prompt."""
        right, wrong = self._letter(row, ""), self._letter(row, f"{self.counterfactual}.")
        if len(token_ids(right, tokenizer)) != len(token_ids(wrong, tokenizer)):
            raise UnusableRowError(f"the answers {right} and {wrong} have different numbers of tokens")
        return first_token(right, tokenizer), first_token(wrong, tokenizer)

    def _letter(self, row: Row, where: str) -> str:
        letters, key = self.field(row, f"{where}choices.label"), self.field(row, f"{where}answerKey")
        if not isinstance(key, int) or not 0 <= key < len(letters):
            raise UsageError(f"{where}answerKey of task {self.name!r} must number one of {letters}, got {key!r}")
        return str(letters[key])


class MibMCQA(MultipleChoice):
    """Questions about the color of a thing that the prompt has named, with four choices."""

    name = "mib/mcqa"
    summary = "give the letter of the color that the prompt has named"
    dataset = "copycolors_mcqa"
    config = "4_answer_choices"


class MibArcEasy(MultipleChoice):
    """The easy set of the AI2 Reasoning Challenge."""

    name = "mib/arc-easy"
    summary = "give the letter of the answer to an easy science question"
    dataset = "arc_easy"


class MibArcChallenge(MultipleChoice):
    """The challenge set of the AI2 Reasoning Challenge."""

    name = "mib/arc-challenge"
    summary = "give the letter of the answer to a hard science question"
    dataset = "arc_challenge"
