"""Every code block of the documentation runs and prints what the page says."""

from __future__ import annotations

from pathlib import Path

import pytest
from sybil.example import SybilFailure

from tests.support.doc_blocks import ROOT, run_page

LEGACY = Path("docs/howto/autocircuit.md")  # needs AutoCircuit; run by tests/legacy/autocircuit
PAGES = sorted({path.relative_to(ROOT) for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]} - {LEGACY})


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    run_page(ROOT / page)


def test_there_are_pages() -> None:
    assert len(PAGES) > 8


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("```python\nassert 1 == 2\n```\n", AssertionError),
        ("```pycon\n>>> 1 + 1\n3\n\n```\n", SybilFailure),
        ("```console\n$ eap metrics\nnothing\n```\n", AssertionError),
        ("```console\n$ eap run no-such-model --task ioi\n```\n", AssertionError),
        ("```sh\nmake nothing-of-the-kind\n```\n", AssertionError),
        ("```sh\ncurl somewhere\n```\n", AssertionError),
        ("```ruby\nputs 1\n```\n", KeyError),
    ],
)
def test_a_wrong_block_fails(text: str, error: type[Exception], tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(error):
        run_page(page)
