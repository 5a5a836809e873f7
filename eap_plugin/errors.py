"""The exceptions a user may see. Each message is one line: what was wrong, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from difflib import get_close_matches


class EapPluginError(Exception):
    """Something failed that was not a mistake in how it was asked for; the command line exits with 1."""

    exit_code = 1


class UsageError(EapPluginError):
    """The request itself was wrong (unknown name, bad option, bad file); the command line exits with 2."""

    exit_code = 2


class CannotCompareError(EapPluginError):
    """A model cannot be compared with the one that it was made from; the message says why."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """The error for a name that is not registered, listing the right ones with "did you mean"."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return UsageError(f"unknown {kind} {name!r}{hint} (known: {', '.join(names) or 'none'})")


def blaming(origin: str) -> AbstractContextManager[None]:
    """Note on an exception that is not one of this package's in whose code it came up."""
    return _Blaming(origin)


class _Blaming(AbstractContextManager[None]):
    def __init__(self, origin: str) -> None:
        self._origin = origin

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, EapPluginError):
            error.__notes__ = [*notes_on(error), f"in {self._origin}"]  # type: ignore[attr-defined]


def notes_on(error: BaseException) -> list[str]:
    """The notes that an exception carries; Python shows them from 3.11 on."""
    return getattr(error, "__notes__", [])
