"""Commands that run in the background, each with a log, and all end with the block that they are started in."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

KEEPER = Path(__file__).with_name("keeper.py")
TAIL = 30
"""Lines of a log that an error shows."""


class ServiceError(Exception):
    """A service ended or was not ready in time; the message holds the end of its log."""


class Services:
    """Running services by name. ``folder`` holds their logs and a record of their processes."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.logs = folder / "logs"
        self._record = folder / "processes.json"
        self._work = folder / "empty"  # where services run: nothing there to import
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.logs.mkdir()
        self._work.mkdir()

    def log(self, name: str) -> Path:
        """Return the log file of a service."""
        return self.logs / f"{name}.log"

    def start(self, name: str, *command: str, **environment: str) -> None:
        """Run a command under a keeper, with additions to the environment."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, str(KEEPER), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self._work,
                env={**self._environment, **environment},
                start_new_session=True,
            )

    def stop(self, *names: str) -> None:
        """Kill services with all that they started, and wait for their end."""
        keepers = [self._running.pop(name) for name in names if name in self._running]
        for keeper in keepers:
            keeper.stdin.close()
        for keeper in keepers:
            keeper.wait()

    def stop_all(self) -> None:
        """Kill everything."""
        self.stop(*self._running)
        self._record.unlink(missing_ok=True)

    def run(self, name: str, *command: str, timeout: float) -> None:
        """Run a command to its end, at most ``timeout`` seconds.

        Raises:
            ServiceError: if it fails or takes longer.
        """
        self.start(name, *command)
        keeper = self._running[name]
        self.wait(name, lambda: keeper.poll() is not None, timeout)
        self._check(name)
        self.stop(name)

    def wait(self, name: str, ready: Callable[[], bool], timeout: float) -> None:
        """Wait until a service is ready.

        Raises:
            ServiceError: if that takes over ``timeout`` seconds, or any service ends meanwhile.
        """
        deadline = time.monotonic() + timeout
        while not ready():
            for other in self._running:
                self._check(other)
            if time.monotonic() > deadline:
                raise ServiceError(f"{name} was not ready within {timeout:.0f} s; its log ends:\n{self._tail(name)}")
            time.sleep(0.1)

    def processes(self) -> list[psutil.Process]:
        """Return the supervising processes and all their current descendants."""
        keepers = [psutil.Process(keeper.pid) for keeper in self._running.values()]
        return keepers + [child for keeper in keepers for child in keeper.children(recursive=True)]

    def record(self) -> None:
        """Write down the processes that run now, for ``end_leftovers``."""
        self._record.write_text(json.dumps([[process.pid, process.create_time()] for process in self.processes()]))

    def _check(self, name: str) -> None:
        status = self._running[name].poll()
        if status:
            raise ServiceError(f"{name} ended with status {status}; its log ends:\n{self._tail(name)}")

    def _tail(self, name: str) -> str:
        return "\n".join(self.log(name).read_text(errors="replace").splitlines()[-TAIL:])


def end_leftovers(record: Path) -> None:
    """Kill what an earlier run recorded and a killed keeper left behind; a reused process id is left alone."""
    if not record.exists():
        return
    for pid, started in json.loads(record.read_text()):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == started:
                family = [process, *process.children(recursive=True)]
                for member in family:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        member.kill()
                psutil.wait_procs(family, timeout=5)


@contextmanager
def services(folder: Path, environment: dict[str, str]) -> Iterator[Services]:
    """Provide an empty ``folder``, for one run at a time, and services that stop at the end of the context.

    Raises:
        ServiceError: if another run uses the folder.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ServiceError(f"another run uses {folder}; wait for its end") from None
        end_leftovers(folder / "processes.json")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        running = Services(folder, environment)
        try:
            yield running
        finally:
            running.stop_all()
