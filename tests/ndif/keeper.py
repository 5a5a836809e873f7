"""Run a command and leave nothing of it behind.

    python keeper.py COMMAND [ARGUMENT...]

Kills every process that the command started, however deep and detached, once the command ends, on SIGTERM, or when
standard input closes: whoever holds the other end may thus die without a word. Linux only.
"""

from __future__ import annotations

import contextlib
import ctypes
import select
import signal
import subprocess
import sys
import time

import psutil

PR_SET_CHILD_SUBREAPER = 36
POLL = 0.2
KILL_WITHIN = 20.0
"""Seconds."""


def adopt_orphans() -> None:
    """Make this process the parent of descendants that lose theirs, so that none can get away."""
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError("prctl refused to make this process a subreaper")


def kill_descendants() -> None:
    """Kill until nothing is left: a killed process leaves its children to this one.

    Raises:
        TimeoutError: if some cannot be killed.
    """
    me, deadline = psutil.Process(), time.monotonic() + KILL_WITHIN
    while descendants := me.children(recursive=True):
        if time.monotonic() > deadline:
            raise TimeoutError(f"cannot kill {descendants}")
        for process in descendants:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(descendants, timeout=1)


def keep(command: list[str]) -> int:
    """Run the command until it ends or this process is told to stop; its exit status, 0 when stopped."""
    adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        while process.poll() is None:
            if select.select([sys.stdin], [], [], POLL)[0]:
                return 0
        return process.returncode
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        kill_descendants()


if __name__ == "__main__":
    sys.exit(keep(sys.argv[1:]))
