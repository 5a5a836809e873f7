"""The curve in the terminal has its points where the numbers are, in 80 columns, and never in a pipe."""

from __future__ import annotations

import os
import sys

import pytest

from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.cli.commands.evaluate import _print
from eap_plugin.cli.text_curve import text_curve
from tests.display.plots.made import evaluation

FIRST = 8
"""The column of the smallest size."""


def test_points_are_at_their_size_and_faithfulness() -> None:
    lines = text_curve(evaluation(sizes=(1, 10, 100), random=True), 80, "utf-8").splitlines()
    assert max(map(len, lines)) <= 80
    top, bottom = lines[1], lines[11]
    assert top.startswith("  1.00 │") and bottom.startswith("  0.00 │")
    assert top[-1] == "●" and len(top) == 80
    assert bottom[FIRST] == "●"
    assert lines[10][FIRST:].strip("●○· ") == ""
    assert lines[13][FIRST + 34 :].split() == ["10", "100"]
    assert lines[14].strip() == "● by |score|   ○ by score   · random circuits"


def test_ascii_where_the_encoding_has_nothing_else() -> None:
    shown = text_curve(evaluation(), 60, "ascii")
    assert shown.isascii()
    assert max(map(len, shown.splitlines())) <= 60


@pytest.mark.parametrize("sizes", [(5,), (0, 5)])
def test_a_single_size_has_no_curve(sizes: tuple[int, ...]) -> None:
    assert text_curve(evaluation(sizes=sizes), 80, "utf-8") == ""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_evaluate_draws_it_in_a_terminal(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = printed_in_terminal(evaluation(), encoding, monkeypatch)
    assert text_curve(evaluation(), 80, encoding) in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.isascii() == (encoding == "ascii")


def test_evaluate_draws_nothing_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    _print(evaluation(), None, as_json=False)
    assert "faithfulness" in (shown := capsys.readouterr().out)
    assert "logarithmic" not in shown


def printed_in_terminal(found: Evaluation, encoding: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return what ``eap evaluate`` prints in a pseudo-terminal of 80 columns."""
    ours, theirs = os.openpty()
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(theirs, "w", encoding=encoding) as terminal, os.fdopen(ours, "rb", buffering=0) as printed:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", terminal)
            _print(found, None, as_json=False)
        terminal.flush()
        return printed.read(1 << 16).decode().replace("\r\n", "\n")
