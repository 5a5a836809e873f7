"""Errors as the command line shows them: one line on stderr, and an exit code."""

from __future__ import annotations

import os

import click

from eap_plugin.errors import EapPluginError, is_out_of_memory, notes_on
from eap_plugin.results.visible_text import visible

DEBUG = "EAP_DEBUG"
INTERRUPTED = 130
"""The exit code that shells report for Ctrl-C."""


def debugging() -> bool:
    """Return whether ``EAP_DEBUG`` asks for tracebacks and for the libraries' own output."""
    return os.environ.get(DEBUG, "") not in ("", "0")


def explain(error: BaseException) -> tuple[str, int] | None:
    """Return the line to print and the exit code for an exception; ``None`` for those that click handles."""
    if isinstance(error, (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError)):
        return None
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted; nothing was written", INTERRUPTED
    if isinstance(error, EapPluginError):
        return _line(str(error)), error.exit_code
    if is_out_of_memory(error):
        return _line("out of memory; leave out --batch-size, or try shorter prompts or a smaller model"), 1
    if isinstance(error, OSError) and error.strerror:
        return _line(f"{error.filename}: {error.strerror}" if error.filename else error.strerror), 1
    where = ", ".join(["unexpected", *notes_on(error)])
    return _line(f"{type(error).__name__}: {error} ({where}; set {DEBUG}=1 to see where it happened)"), 1


def _line(message: str) -> str:
    return f"Error: {visible(' '.join(message.split()))}"
