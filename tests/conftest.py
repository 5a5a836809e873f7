"""Which tests fit the installed TransformerLens: ``legacy`` needs a version before 4, the rest version 4."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

LEGACY = int(version("transformer-lens").split(".")[0]) < 4
collect_ignore_glob = (
    [
        "test_eap_*.py",
        "test_backend_*.py",
        "test_cli*.py",
        "test_patching.py",
        "test_remote_*.py",
        "test_gradient_*.py",
        "test_algorithm_*.py",
        "test_shipped*.py",
        "oracle/*",
        "matrix/*",
        "tracr/*",
    ]
    if LEGACY
    else ["legacy/*"]
)
if find_spec("auto_circuit") is None:
    collect_ignore_glob.append("legacy/test_autocircuit_*.py")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the largest errors that tests found, a row for each model."""
    _table(terminalreporter, "error", "largest error over largest score, against plain autograd edge by edge")
    _table(terminalreporter, "differs", "largest difference over largest score, from the TransformerLens backend")
    for tool in ("AutoCircuit", "TransformerLens"):
        _table(terminalreporter, tool, f"largest difference over largest score, against {tool} side by side")
    _table(terminalreporter, "kept", "behaviour of real models that their strongest edges preserve")
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
