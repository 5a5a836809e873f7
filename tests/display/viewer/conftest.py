"""One browser for each module of tests, and pages that must report no error and ask for nothing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.display.viewer.viewer import Viewer


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium")
    assert path, "these tests need chromium on the PATH; scripts/chromium.sh installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path)
        yield started
        started.close()


@pytest.fixture
def viewer(browser: Browser, tmp_path: Path) -> Iterator[Viewer]:
    opened = Viewer(browser, tmp_path)
    yield opened
    opened.close()
    assert opened.problems == []
