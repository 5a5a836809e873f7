"""Reading prompt pairs from a file of any registered format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from eap_plugin.errors import UsageError
from eap_plugin.task.base import TaskFormat
from eap_plugin.task.task import PromptPair


def read_task_file(path: str | Path, formats: Iterable[TaskFormat]) -> list[PromptPair]:
    """The prompt pairs of a file, read by the one format that accepts it.

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
        raise UsageError(f"{path} could be any of {names}; rename it to an ending that only one of them has")
    pairs = accepting[0].read(path)
    if not pairs:
        raise UsageError(f"{path} holds no prompt pair; expected at least one ({accepting[0].summary})")
    return pairs
