"""JSON Lines, the format for prompts written by hand or by a script: one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path

from eap_plugin.errors import UsageError
from eap_plugin.files import read_text
from eap_plugin.task.base import TaskFormat
from eap_plugin.task.formats.records import FIELDS, pair_from_record
from eap_plugin.task.task import PromptPair


class PromptJsonl(TaskFormat):
    """Lines ``{"clean": …, "corrupt": …, "answers": […], "wrong_answers": […]}``; empty lines are skipped.

    A prompt is text or a list of token ids; an answer is text, including its leading space, or a token id.
    """

    name = "prompts-jsonl"
    summary = "on each line a JSON object with " + ", ".join(FIELDS)
    suffixes = (".jsonl",)

    def read(self, path: Path) -> list[PromptPair]:
        """See ``TaskFormat.read``."""
        pairs = []
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if not line.strip():
                continue
            where = f"{path}, line {number}"
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UsageError(f"{where}: not JSON ({error.msg}); expected {self.summary}") from error
            pairs.append(pair_from_record(record, where))
        return pairs
