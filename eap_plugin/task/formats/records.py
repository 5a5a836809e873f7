"""Checks of the contents of a task file, with errors that give the file and the position in it."""

from __future__ import annotations

from eap_plugin.errors import UsageError, shown
from eap_plugin.task.task import Ids, PromptPair

FIELDS = ("clean", "corrupt", "answers", "wrong_answers")


def pair_from_record(record: object, where: str) -> PromptPair:
    """Make a prompt pair from a parsed JSON object with the four fields; other fields are ignored.

    Args:
        record: the parsed object.
        where: the file and the position in it, for errors.

    Raises:
        UsageError: if a field is missing or of the wrong type.
    """
    if not isinstance(record, dict):
        raise UsageError(f"{where}: expected an object with {', '.join(FIELDS)}, got {type(record).__name__}")
    missing = [field for field in FIELDS if field not in record]
    if missing:
        raise UsageError(f"{where}: {', '.join(missing)} missing; expected {', '.join(FIELDS)}")
    return PromptPair(
        clean=_prompt(record["clean"], f"{where}: clean"),
        corrupt=_prompt(record["corrupt"], f"{where}: corrupt"),
        answers=_answers(record["answers"], f"{where}: answers"),
        wrong_answers=_answers(record["wrong_answers"], f"{where}: wrong_answers"),
    )


def is_id(value: object) -> bool:
    """Return whether this can be a token id: a non-negative integer, and not a Boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _prompt(value: object, where: str) -> str | Ids:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, list) and value and all(is_id(v) for v in value):
        return tuple(value)
    raise UsageError(f"{where} must be text or a list of token ids, got {shown(value)}")


def _answers(value: object, where: str) -> tuple[str | int, ...]:
    if isinstance(value, list) and all(is_id(v) or (isinstance(v, str) and v) for v in value):
        return tuple(value)
    raise UsageError(f"{where} must be a list of texts or token ids, got {shown(value)}")
