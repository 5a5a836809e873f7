"""Nothing that is started for a test outlives it, whatever ends the test."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.ndif.services import ServiceError, services

ENVIRONMENT = {"PATH": os.environ["PATH"]}
# A process that has left the group, session and family of the one that starts it, and writes its id.
DAEMON = ("sh", "-c", '(setsid sh -c "echo \\$\\$ >$PID_FILE; exec sleep 600" &) ; exec sleep 600')


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def daemon_id(file: Path) -> int:
    assert eventually(lambda: file.exists() and file.read_text().endswith("\n"))
    return int(file.read_text())


def test_services_end_with_the_block(tmp_path: Path) -> None:
    with contextlib.suppress(KeyboardInterrupt), services(tmp_path / "run", ENVIRONMENT) as running:
        running.start("daemon", *DAEMON, PID_FILE=str(tmp_path / "pid"))
        pid = daemon_id(tmp_path / "pid")
        assert psutil.pid_exists(pid)
        raise KeyboardInterrupt
    assert not psutil.pid_exists(pid)


def test_services_end_with_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tests.ndif.services import services\n"
        f"with services(Path({str(tmp_path / 'run')!r}), {ENVIRONMENT!r}) as running:\n"
        f"    running.start('daemon', *{DAEMON!r}, PID_FILE={str(tmp_path / 'pid')!r}); time.sleep(600)"
    )
    run = subprocess.Popen([sys.executable, "-c", code])
    pid = daemon_id(tmp_path / "pid")
    run.kill()
    run.wait()
    assert eventually(lambda: not psutil.pid_exists(pid))


def test_leftovers_of_a_killed_keeper_end_with_the_next_run(tmp_path: Path) -> None:
    with services(tmp_path / "run", ENVIRONMENT) as running:
        running.start("daemon", *DAEMON, PID_FILE=str(tmp_path / "pid"))
        pid = daemon_id(tmp_path / "pid")
        running.record()
        keeper = psutil.Process(pid).parent()
        assert keeper is not None
        keeper.kill()
        running.wait("daemon", lambda: not keeper.is_running() or keeper.status() == "zombie", 10)
        record = (tmp_path / "run" / "processes.json").read_text()
    assert psutil.pid_exists(pid)  # nobody was left to kill it
    (tmp_path / "run" / "processes.json").write_text(record)  # as if that run had been killed as well
    with services(tmp_path / "run", ENVIRONMENT):
        assert not psutil.pid_exists(pid)


def test_one_run_at_a_time(tmp_path: Path) -> None:
    with (
        services(tmp_path / "run", ENVIRONMENT),
        pytest.raises(ServiceError, match=r"another run uses .*run"),
        services(tmp_path / "run", ENVIRONMENT),
    ):
        pass


def test_failures_show_the_log(tmp_path: Path) -> None:
    with services(tmp_path / "run", ENVIRONMENT) as running:
        with pytest.raises(ServiceError, match=r"(?s)one ended with status 3; .*the reason"):
            running.run("one", "sh", "-c", "echo the reason; exit 3", timeout=10)
        running.stop("one")
        running.start("two", "sh", "-c", "echo not yet; exec sleep 600")
        with pytest.raises(ServiceError, match=r"(?s)two was not ready within 1 s; .*not yet"):
            running.wait("two", lambda: False, 1)
