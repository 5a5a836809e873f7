"""Reading of prompt pairs from a file in any registered format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskFormat
from eap_plugin.task.task import PromptPair


def read_task_file(path: str | Path, formats: Iterable[TaskFormat]) -> list[PromptPair]:
    """Read the prompt pairs of a file with the one format that accepts it.

    Raises:
        UsageError: if the file is missing or malformed, or if no format or more than one accepts it.
    """
    path = Path(path)
    if not path.is_file():
        raise UsageError(f"{path} is not a file; expected a task file or the name of a task")
    known = list(formats)
    accepting = [f for f in known if f.accepts(path)]
    if not accepting:
        listed = "; ".join(f"{f.name} ({', '.join(f.suffixes)}): {f.summary}" for f in known)
        raise UsageError(f"no task format accepts {path}; known formats are {listed or 'none'}")
    if len(accepting) > 1:
        names = ", ".join(f.name for f in accepting)
        raise UsageError(f"{path} could be in any of the formats {names}; give it a suffix that only one of them has")
    pairs = accepting[0].read(path)
    if not pairs:
        raise UsageError(f"{path} contains no prompt pair; expected at least one ({accepting[0].summary})")
    return pairs
