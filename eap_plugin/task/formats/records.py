"""Checks of the contents of a task file, with errors that give the file and the position in it."""

from __future__ import annotations

from pathlib import Path

from eap_plugin.errors import UsageError
from eap_plugin.task.task import Ids, PromptPair

FIELDS = ("clean", "corrupt", "answers", "wrong_answers")


def read_text(path: Path) -> str:
    """Read the file's text, which must be UTF-8.

    Raises:
        UsageError: if it cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


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
    raise UsageError(f"{where} must be text or a list of token ids, got {_short(value)}")


def _answers(value: object, where: str) -> tuple[str | int, ...]:
    if isinstance(value, list) and all(is_id(v) or (isinstance(v, str) and v) for v in value):
        return tuple(value)
    raise UsageError(f"{where} must be a list of texts or token ids, got {_short(value)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
