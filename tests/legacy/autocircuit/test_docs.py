"""The documentation's page on AutoCircuit runs and prints what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.doc_blocks import ROOT, run_page


def test_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_page(ROOT / "docs/howto/autocircuit.md") > 10
