"""AutoCircuit's JSON data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eap_plugin.errors import UsageError
from eap_plugin.files import read_text
from eap_plugin.task.base import TaskFormat
from eap_plugin.task.formats.records import pair_from_record
from eap_plugin.task.task import PromptPair


class AutoCircuitJson(TaskFormat):
    """A JSON object whose ``prompts`` are objects with clean, corrupt, answers and wrong_answers.

    Other fields of AutoCircuit's files (``seq_labels``, ``word_idxs``) are ignored.
    """

    name = "autocircuit-json"
    summary = 'a JSON object {"prompts": [{"clean", "corrupt", "answers", "wrong_answers"}, …]}'
    suffixes = (".json",)

    def accepts(self, path: Path) -> bool:
        """Accept a ``.json`` file with ``prompts`` in it, or a malformed one, so that reading it reports the error."""
        if not super().accepts(path):
            return False
        try:
            content = _parse(path)
        except UsageError:
            return True
        return isinstance(content, dict) and "prompts" in content

    def read(self, path: Path) -> list[PromptPair]:
        """See ``TaskFormat.read``."""
        content = _parse(path)
        prompts = content.get("prompts") if isinstance(content, dict) else None
        if not isinstance(prompts, list):
            raise UsageError(f"{path}: no list of prompts; expected {self.summary}")
        return [pair_from_record(record, f"{path}, prompt {i}") for i, record in enumerate(prompts, start=1)]


def _parse(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(
            f"{path}, line {error.lineno}: not JSON ({error.msg}); expected {AutoCircuitJson.summary}"
        ) from error
