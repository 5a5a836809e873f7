"""MIB's addition and subtraction of two numbers."""

from __future__ import annotations

from typing import Any, ClassVar

from eap_plugin.task.mib.base import MibTask, Row, UnusableRowError, first_token, token_ids


class Arithmetic(MibTask):
    """Two numbers to add or subtract; the corrupt prompt has two others.

    Rows are left out unless the results of both prompts are single tokens.
    """

    counterfactual = "random_counterfactual"
    operator: ClassVar[str]

    def answers(self, row: Row, tokenizer: Any) -> tuple[int, int]:
        """See ``MibTask.answers``; the wrong answer is the right one to the corrupt prompt."""
        operator = self.field(row, "operator")
        if operator != self.operator:
            raise UnusableRowError(f"its operator is {operator}, not {self.operator}")
        return self._result(row, "label", tokenizer), self._result(row, f"{self.counterfactual}.label", tokenizer)

    def _result(self, row: Row, path: str, tokenizer: Any) -> int:
        text = str(self.field(row, path))
        if len(token_ids(text, tokenizer)) != 1:
            raise UnusableRowError(f"the result {text} is not a single token")
        return first_token(text, tokenizer)


class MibAddition(Arithmetic):
    """The sum of two numbers."""

    name = "mib/arithmetic-addition"
    summary = "add two numbers"
    dataset = "arithmetic_addition"
    operator = "+"


class MibSubtraction(Arithmetic):
    """The difference of two numbers."""

    name = "mib/arithmetic-subtraction"
    summary = "subtract one number from another"
    dataset = "arithmetic_subtraction"
    operator = "-"
