"""Handling of Ctrl-C that also works while libraries and plugins are being imported.

Some libraries catch ``KeyboardInterrupt`` during import and fail a moment later with an unrelated error. A plugin, on
the other hand, may raise ``KeyboardInterrupt`` although nobody pressed Ctrl-C.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """A signal handler that records whether Ctrl-C was pressed."""

    seen = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Record the interrupt, and raise ``KeyboardInterrupt`` as Python does."""
        self.seen = True
        raise KeyboardInterrupt


@contextmanager
def noticing_interrupts() -> Iterator[Interrupts]:
    """Record Ctrl-C as well as raising it, inside the context; contexts within it share the record.

    This applies only in the main thread, which receives signals, and only if Python's own handler is installed: a
    program in the background ignores Ctrl-C, and that stays so.
    """
    interrupts = Interrupts()
    before = signal.getsignal(signal.SIGINT)
    if isinstance(before, Interrupts):
        yield before
        return
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
