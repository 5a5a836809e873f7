"""The progress display for long-running work, which also silences the libraries' own output."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext, redirect_stderr, redirect_stdout
from threading import Timer

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from eap_plugin.cli.trouble import debugging

DELAY = 1.0
"""Seconds to wait before showing anything."""

QUIETING = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Work:
    """The status line on stderr."""

    def __init__(self, progress: Progress, show: bool) -> None:
        """Begin without a step."""
        self._progress, self._show = progress, show
        self._task: TaskID | None = None

    def step(self, doing: str, unit: str = "prompt pairs") -> None:
        """Begin a step of unknown length; ``unit`` is what it counts once ``advance`` gives the length."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(doing, total=None, unit=unit)

    def advance(self, done: int, total: int) -> None:
        """Show how much of the step is done, of how much; the time left follows from the rate."""
        if self._task is not None:
            self._progress.update(self._task, completed=done, total=total)

    def tell(self, what: str) -> None:
        """Show the status of a request to a server: in the status line, or on a line of its own if there is none."""
        if self._task is not None:
            self._progress.update(self._task, description=what)
        if self._show and not self._progress.console.is_interactive:
            self._progress.console.print(what, soft_wrap=True, highlight=False)


@contextmanager
def working(show: bool) -> Iterator[Work]:
    """Show progress once the work takes more than a second, and keep the libraries quiet.

    Args:
        show: whether to show progress, which needs a terminal.
    """
    console = Console(file=sys.stderr)  # looked up now, because quiet() replaces sys.stderr
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        _Count(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
    )
    with quiet(), _after_delay(progress) if show and console.is_interactive else nullcontext():
        yield Work(progress, show)


@contextmanager
def _after_delay(progress: Progress) -> Iterator[None]:
    """Start the display after ``DELAY``, and remove it at the end."""
    starter = Timer(DELAY, progress.start)
    starter.daemon = True
    starter.start()
    try:
        yield
    finally:
        starter.cancel()
        starter.join()
        progress.stop()


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress printed output, logging and warnings inside the context, unless ``EAP_DEBUG`` is set."""
    if debugging():
        yield
        return
    before = {name: os.environ.get(name) for name in QUIETING}
    disabled = logging.root.manager.disable
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(io.StringIO()))
        stack.enter_context(redirect_stderr(io.StringIO()))
        stack.enter_context(warnings.catch_warnings())
        stack.callback(logging.disable, disabled)
        stack.callback(_restore, before)
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        os.environ.update(QUIETING)
        yield


def _restore(variables: dict[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class _Count(ProgressColumn):
    """A column with what is done, the total and the rate per second; empty if the total is not known."""

    def render(self, task: Task) -> Text:
        """Format the count and, once it is known, the rate."""
        if task.total is None:
            return Text("")
        rate = "" if task.speed is None else f", {task.speed:.3g}/s"
        return Text(f"{task.completed:.0f}/{task.total:.0f} {task.fields['unit']}{rate}")
