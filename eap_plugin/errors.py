"""The exceptions that users may see. Each message is one line: what was wrong, what was expected, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from difflib import get_close_matches


class EapPluginError(Exception):
    """A failure that is not a mistake in the user's request; the command line exits with code 1."""

    exit_code = 1


class UsageError(EapPluginError):
    """A mistake in the user's request (unknown name, bad option, bad file); the command line exits with code 2."""

    exit_code = 2


class CannotCompareError(EapPluginError):
    """A model that cannot be compared with the one it was made from; the message says why."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name that is not registered, with the known names and those that are near."""
    names = sorted(known)
    near = near_names(name, names)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return UsageError(f"unknown {kind} {shown(name)}{hint} (known: {', '.join(names) or 'none'})")


def near_names(name: str, known: Iterable[str], cutoff: float = 0.6) -> list[str]:
    """Return the names that may be meant: those that ``name`` is the beginning of, else those that look alike.

    Args:
        name: what was given.
        known: the names that there are.
        cutoff: the least similarity of names that look alike, from 0 to 1, as ``difflib`` measures it.
    """
    names = list(known)
    return [one for one in names if name and one.startswith(name)] or get_close_matches(name, names, cutoff=cutoff)


def shown(value: object) -> str:
    """Return how a message shows a value of unknown origin: as Python writes it, and at most 60 characters of it."""
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number with too many digits
        text = f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def located(where: object) -> Iterator[None]:
    """Put the file, or the place in it, in front of the message of a ``UsageError`` raised inside the context."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from error


def blaming(origin: str) -> AbstractContextManager[None]:
    """Add a note to exceptions other than this package's own, naming the code that raised them."""
    return _Blaming(origin)


class _Blaming(AbstractContextManager[None]):
    def __init__(self, origin: str) -> None:
        self._origin = origin

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, EapPluginError):
            error.__notes__ = [*notes_on(error), f"in {self._origin}"]  # type: ignore[attr-defined]


def notes_on(error: BaseException) -> list[str]:
    """Return the notes of an exception; Python prints them since 3.11."""
    return getattr(error, "__notes__", [])


_OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
"""What PyTorch's allocators, for CPUs and accelerators, and CUDA's libraries say when memory runs out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that memory ran out: in Python, on an accelerator, or in PyTorch's allocator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY))
    )
