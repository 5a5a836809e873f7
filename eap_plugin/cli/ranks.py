"""Runs in several processes, started by ``torchrun``; the first of them speaks for all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from eap_plugin.errors import EapPluginError

if TYPE_CHECKING:
    from eap_plugin.runner.ranks import Ranks


def is_distributed() -> bool:
    """Return whether ``torchrun`` started this process."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def is_first() -> bool:
    """Return whether this process is the one that prints and saves: the only one, or the one with rank 0."""
    return not is_distributed() or os.environ["RANK"] == "0"


@contextmanager
def joined() -> Iterator[Ranks]:
    """Connect with the other processes inside the context, if ``torchrun`` started this one.

    When one of them ends, ``torchrun`` sends the others SIGTERM, which is an error that the first one reports.
    """
    from eap_plugin.runner.ranks import Ranks, join_ranks

    if not is_distributed():
        yield Ranks()
        return
    before = signal.signal(signal.SIGTERM, _stopped)
    try:
        ranks = join_ranks()
        yield ranks
        ranks.leave()
    finally:
        signal.signal(signal.SIGTERM, before)


def _stopped(signum: int, frame: FrameType | None) -> None:
    raise EapPluginError("stopped, probably because another process of this run has ended; nothing was written")
