"""The tables at the end of a test run."""

from __future__ import annotations

from typing import Any

from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the largest errors that tests found, a row for each model."""
    _table(terminalreporter, "error", "largest error over largest score, against plain autograd edge by edge")
    _table(terminalreporter, "differs", "largest difference over largest score, from the TransformerLens backend")
    for tool in ("AutoCircuit", "TransformerLens"):
        _table(terminalreporter, tool, f"largest difference over largest score, against {tool} side by side")
    _table(terminalreporter, "kept", "behaviour of real models that their strongest edges preserve")
    _table(terminalreporter, "takes", "time until the viewer has answered, with 2,000 edges")
    _table(terminalreporter, "AUROC", "area under the ROC curve of edges against known circuits")


def _table(terminalreporter: Any, kind: str, title: str) -> None:
    errors: dict[str, dict[str, str]] = {}
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for key, value in report.user_properties:
            if key.startswith(f"{kind} "):
                name = report.nodeid.partition("[")[2].rstrip("]")
                errors.setdefault(name, {})[key.removeprefix(f"{kind} ")] = value
    columns = sorted({column for row in errors.values() for column in row})
    if columns:
        terminalreporter.section(title)
        terminalreporter.write_line(f"{'':24}" + "".join(f"{column:>36}" for column in columns))
        for name, row in errors.items():
            terminalreporter.write_line(f"{name:24}" + "".join(f"{row.get(column, '-'):>36}" for column in columns))
