"""Errors as the command line shows them: one line on stderr, and an exit code."""

from __future__ import annotations

import os
from typing import IO, Any

import click

from eap_plugin.errors import EapPluginError

DEBUG = "EAP_DEBUG"


def debugging() -> bool:
    """Whether ``EAP_DEBUG`` asks for tracebacks and for the libraries' own output."""
    return os.environ.get(DEBUG, "") not in ("", "0")


class _Failure(click.ClickException):
    """An error with its exit code."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        """Keep the message as one line."""
        super().__init__(" ".join(message.split()))
        self.exit_code = exit_code


class _Interrupted(click.ClickException):
    """Ctrl-C; 130 is what shells report for it."""

    exit_code = 130

    def show(self, file: IO[Any] | None = None) -> None:
        """Write the message alone: it is not an error."""
        click.echo(self.message, file=file, err=file is None)


def as_click_error(error: BaseException) -> click.ClickException | None:
    """What to show for an exception; ``None`` for those that click understands by itself."""
    if isinstance(error, (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)):
        return None
    if isinstance(error, KeyboardInterrupt):
        return _Interrupted("Interrupted; nothing was written")
    if isinstance(error, EapPluginError):
        return _Failure(str(error), error.exit_code)
    if _out_of_memory(error):
        return _Failure("out of memory; try a smaller --batch-size, fewer --prompts or a smaller model")
    if isinstance(error, OSError) and error.strerror:
        return _Failure(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
    return _Failure(f"{type(error).__name__}: {error} (unexpected; {DEBUG}=1 shows where it happened)")


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, in Python, on an accelerator or in torch's allocator on the CPU."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in str(error)
    )
