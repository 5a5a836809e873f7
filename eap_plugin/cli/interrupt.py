"""Ctrl-C that is not lost.

Libraries that are being imported swallow the exception, and fail for some odd reason a moment later.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupts:
    """Whether Ctrl-C was pressed."""

    seen = False

    def __call__(self, signum: int, frame: FrameType | None) -> None:
        """Note it, and raise as Python does."""
        self.seen = True
        raise KeyboardInterrupt


@contextmanager
def noticing_interrupts() -> Iterator[Interrupts]:
    """Within it Ctrl-C is noted as well as raised.

    Only in the main thread, which gets signals, and where Python's own handler is in place: a program in
    the background ignores Ctrl-C, and goes on doing so.
    """
    interrupts = Interrupts()
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield interrupts
        return
    signal.signal(signal.SIGINT, interrupts)
    try:
        yield interrupts
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
