"""Which format a file is in, and reading it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, ScoreFormat

_HEAD = 4096
_FIRST = re.compile(r'\ufeff?\s*\{\s*"([^"\\]*)"\s*:\s*(.)', re.DOTALL)


def json_opening(path: Path) -> tuple[str, str]:
    """Return the first key of the JSON object in a file and the first character of its value; empty if there is none.

    Formats that share the suffix ``.json`` differ in it, so that large files need not be read to tell them apart.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD).decode(errors="replace")
    except OSError:
        return "", ""
    found = _FIRST.match(head)
    return (found[1], found[2]) if found else ("", "")


def format_of(path: Path, formats: Mapping[str, ScoreFormat]) -> ScoreFormat:
    """Return the one format that recognizes a file or folder.

    Raises:
        UsageError: if there is no such file, or no format or more than one recognizes it.
    """
    if not path.exists():
        raise UsageError(f"there is no file {path}")
    found = [score_format for score_format in formats.values() if score_format.recognizes(path)]
    if not found:
        known = ", ".join(f"{name} ({'/'.join(one.suffixes) or 'folder'})" for name, one in formats.items())
        raise UsageError(f"no score format recognizes {path}, or it is damaged; known are {known}")
    if len(found) > 1:
        names = " and ".join(one.name for one in found)
        raise UsageError(f"{path} could be in the formats {names}; choose one with format=")
    return found[0]


def read_contents(path: Path, score_format: ScoreFormat, graph: Graph | None = None) -> Contents:
    """Read a file, with errors of one line that begin with its path.

    Raises:
        UsageError: if it is damaged, hostile or of another graph.
        EapPluginError: if it cannot be read.
    """
    try:
        return score_format.read(path, graph)
    except UsageError as error:
        text = " ".join(str(error).split())
        raise UsageError(text if str(path) in text else f"{path}: {text}") from error
    except EapPluginError:
        raise
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error
    except (ArithmeticError, AttributeError, LookupError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UsageError(f"{path} is not a complete file of the format {score_format.name} ({reason})") from error
