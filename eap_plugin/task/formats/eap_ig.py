"""The CSV files of EAP-IG and of work that builds on it."""

from __future__ import annotations

import ast
import csv
import io
import re
from pathlib import Path

from eap_plugin.errors import UsageError
from eap_plugin.files import read_text
from eap_plugin.task.base import TaskFormat
from eap_plugin.task.formats.records import is_id
from eap_plugin.task.greater_than import later_years
from eap_plugin.task.task import PromptPair

ID_COLUMNS = (
    ("correct_idx", "incorrect_idx"),
    ("clean_answer_idx", "corrupted_answer_idx"),
    ("answers_idx", "corrupted_answers_idx"),
    ("country_idx", "corrupted_country_idx"),
)
"""Columns with right and wrong token ids, one or a list per cell; they are valid for one tokenizer only."""
TEXT_COLUMNS = ("correct", "incorrect")
"""Columns with right and wrong answers as text, including the leading space, one or a list per cell."""
YEAR_COLUMNS = ("correct_idx", "label")
"""Columns of greater-than files, which have no wrong answers, with the start year's last two digits."""

_YEARS = re.compile(r"(\d\d)(\d\d)\D+\1$")


class EapIgCsv(TaskFormat):
    """CSV files with columns ``clean`` and ``corrupted`` and a pair of answer columns; other columns are ignored.

    Files without wrong answers are read as greater-than: ``correct_idx`` (or ``label``) is then not a token id but
    the start year's last two digits. The right answers are all later years of the century, the wrong ones the rest.
    """

    name = "eap-ig-csv"
    summary = (
        "a CSV with columns clean, corrupted and token ids correct_idx, incorrect_idx "
        "(or texts correct, incorrect; or for greater-than the start year as correct_idx)"
    )
    suffixes = (".csv",)

    def read(self, path: Path) -> list[PromptPair]:
        """See ``TaskFormat.read``."""
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
        try:
            columns = set(reader.fieldnames or ())
            if not {"clean", "corrupted"} <= columns:
                raise UsageError(f"{path}, line 1: no columns clean and corrupted; expected {self.summary}")
            return [_pair(row, columns, f"{path}, line {reader.line_num}") for row in reader]
        except csv.Error as error:
            raise UsageError(f"{path}, line {reader.line_num}: not CSV ({error})") from error


def _pair(row: dict[str, str | None], columns: set[str], where: str) -> PromptPair:
    answers, wrong = _row_answers(row, columns, where)
    return PromptPair(_cell(row, "clean", where), _cell(row, "corrupted", where), answers, wrong)


def _row_answers(
    row: dict[str, str | None], columns: set[str], where: str
) -> tuple[tuple[str | int, ...], tuple[str | int, ...]]:
    for right, wrong in ID_COLUMNS:
        if {right, wrong} <= columns:
            return _ids(row, right, where), _ids(row, wrong, where)
    if set(TEXT_COLUMNS) <= columns:
        right, wrong = TEXT_COLUMNS
        return _texts(row, right, where), _texts(row, wrong, where)
    for column in YEAR_COLUMNS:
        if column in columns:
            return later_years(_start_year(row, column, where))
    expected = " or ".join(f"{right}, {wrong}" for right, wrong in (*ID_COLUMNS, TEXT_COLUMNS))
    raise UsageError(f"{where}: no answer columns; expected {expected}")


def _cell(row: dict[str, str | None], column: str, where: str) -> str:
    text = row[column]
    if not text:
        raise UsageError(f"{where}: {column} is empty; expected text")
    return text


def _literal(text: str) -> object:
    """Parse a cell as a Python literal, such as a number or a list; anything else stays text."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text


def _ids(row: dict[str, str | None], column: str, where: str) -> tuple[str | int, ...]:
    text = _cell(row, column, where)
    value = _literal(text)
    ids = tuple(value) if isinstance(value, list) else (value,)
    if not ids or not all(is_id(i) for i in ids):
        raise UsageError(f"{where}: {column} must be a token id or a list of them, got {text!r}")
    return ids


def _texts(row: dict[str, str | None], column: str, where: str) -> tuple[str | int, ...]:
    text = _cell(row, column, where)
    value = _literal(text)
    if not isinstance(value, list):
        return (text,)
    if not value or not all(isinstance(v, str) and v for v in value):
        raise UsageError(f"{where}: {column} must be text or a list of texts, got {text!r}")
    return tuple(value)


def _start_year(row: dict[str, str | None], column: str, where: str) -> int:
    """Return the last two digits of the start year, which must be those in the prompt."""
    clean, text = _cell(row, "clean", where), _cell(row, column, where)
    match = _YEARS.search(clean)
    if match is None or text.strip().zfill(2) != match[2]:
        raise UsageError(
            f"{where}: without wrong answers, clean must be a greater-than prompt ('… 1732 to the year 17') "
            f"and {column} its start year's last two digits, got {text!r}; or add a column incorrect_idx"
        )
    return int(match[2])
