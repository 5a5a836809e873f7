"""One NDIF server for the whole run, and the models that the tests have it serve."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when transformers is imported, by the modules below

from tests.ndif import models
from tests.ndif.server import NdifServer, ndif_server

FOLDER = Path(__file__).parents[2] / ".cache" / "ndif" / "run"


TIMINGS = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def server(pytestconfig: pytest.Config) -> Iterator[NdifServer]:
    """Start the server, which stops when the test run ends for any reason."""
    with ndif_server(FOLDER) as running:
        pytestconfig.stash[TIMINGS] = running.timings
        yield running


@pytest.fixture(scope="session")
def model_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the models' folders, by name. The server would load a model from any other folder, too."""
    folder = tmp_path_factory.mktemp("models")
    return {name: models.save(name, folder) for name in models.NAMES}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how long the server took to start, what a run tells of itself, and what each error says."""
    for report in terminalreporter.getreports(""):  # of set-ups and tear-downs; the latter come last, and know all
        for key, value in report.user_properties:
            if report.when == "teardown" and key in ("line", "log of a run"):
                name = report.nodeid.rpartition("::")[2].removeprefix("test_").replace("_", " ")
                terminalreporter.write_line(f"{name}:\n    " + value.replace("\n", "\n    "))
    if timings := config.stash.get(TIMINGS, {}):
        parts = ", ".join(f"{part} {seconds:.1f} s" for part, seconds in timings.items())
        terminalreporter.write_line(f"NDIF server started in {sum(timings.values()):.1f} s: {parts}")
