"""Which tests fit the installed TransformerLens: ``legacy`` needs a version before 4, the rest version 4."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

LEGACY = int(version("transformer-lens").split(".")[0]) < 4
collect_ignore_glob = (
    ["test_eap_*.py", "test_backend_*.py", "test_cli*.py", "test_patching.py", "test_shipped*.py", "oracle/*"]
    if LEGACY
    else ["legacy/*"]
)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print, per architecture, the largest error that the tests against an oracle found."""
    errors: dict[str, dict[str, str]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for key, value in report.user_properties:
            if key.startswith("error "):
                name = report.nodeid.partition("[")[2].rstrip("]")
                errors.setdefault(name, {})[key.removeprefix("error ")] = value
    columns = sorted({column for row in errors.values() for column in row})
    if columns:
        terminalreporter.section("largest error over largest score, against plain autograd edge by edge")
        terminalreporter.write_line(f"{'architecture':24}" + "".join(f"{column:>28}" for column in columns))
        for name, row in errors.items():
            terminalreporter.write_line(f"{name:24}" + "".join(f"{row.get(column, '-'):>28}" for column in columns))
