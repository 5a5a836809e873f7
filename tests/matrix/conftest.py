"""Writes docs/matrix.md after a run of all families in which nothing failed, if the variable MATRIX is set."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tests.matrix.cases import FULL
from tests.matrix.page import page
from tests.support.zoo import FAMILIES

PAGE = Path(__file__).parents[2] / "docs/matrix.md"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Gather what the tests of all families recorded."""
    if "MATRIX" not in os.environ or terminalreporter.getreports("failed") or terminalreporter.getreports("error"):
        return
    errors: dict[str, dict[tuple[str, str], float]] = {}
    n_cases = 0
    for report in terminalreporter.getreports("passed"):
        for key, value in report.user_properties:
            if key == "cases":
                n_cases += value
            elif key.startswith("matrix "):
                family = report.nodeid.partition("[")[2].rstrip("]")
                algorithm, _, backend = key.removeprefix("matrix ").partition(", ")
                errors.setdefault(family, {})[algorithm, backend] = float(value)
    if set(errors) != set(FAMILIES):
        return
    PAGE.write_text(page(errors, n_cases, FULL))
    terminalreporter.write_line(f"wrote {PAGE}")
