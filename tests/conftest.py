"""Which tests fit the installed TransformerLens: ``legacy`` needs a version before 4, the rest version 4."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

LEGACY = int(version("transformer-lens").split(".")[0]) < 4
collect_ignore_glob = (
    [
        "test_eap_*.py",
        "test_backend_*.py",
        "test_cli*.py",
        "test_patching.py",
        "test_remote_*.py",
        "test_shipped*.py",
        "oracle/*",
    ]
    if LEGACY
    else ["legacy/*"]
)


TABLES = {
    "error ": "largest error over largest score, against plain autograd edge by edge",
    "differs ": "largest difference over largest score, from the TransformerLens backend edge by edge",
}
"""Beginnings of the properties that tests record, and the tables that they go into."""


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print, per architecture, how far scores were from an oracle's and from another backend's."""
    reports = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    for sign, title in TABLES.items():
        rows: dict[str, dict[str, str]] = {}
        for report in reports:
            for key, value in report.user_properties:
                if key.startswith(sign):
                    name = report.nodeid.partition("[")[2].rstrip("]")
                    rows.setdefault(name, {})[key.removeprefix(sign)] = value
        columns = sorted({column for row in rows.values() for column in row})
        if columns:
            terminalreporter.section(title)
            terminalreporter.write_line(f"{'architecture':24}" + "".join(f"{column:>28}" for column in columns))
            for name, row in rows.items():
                terminalreporter.write_line(f"{name:24}" + "".join(f"{row.get(c, '-'):>28}" for c in columns))
