"""``eap view``: pages from files, and its errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from eap_plugin.cli import main
from tests.display.viewer.samples import GROUPED, data_of, evaluation, scores


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    scores(seed=0).save("a.safetensors")
    scores(seed=1).save("b.safetensors")
    evaluation().save("e.json")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["view", *arguments])


def test_writes_a_page(folder: Path) -> None:
    result = run("a.safetensors", "e.json", "b.safetensors", "-o", "page.html", "--title", "A & B", "--method", "top")
    assert result.output == "Saved to page.html (0.4 MB); open it in a browser\n"
    data = data_of(Path("page.html").read_text())
    assert [one["name"] for one in data["datasets"]] == ["a.safetensors", "b.safetensors"]
    assert data["title"] == "A & B" and len(data["evaluations"]) == 1
    assert {one["method"] for one in data["datasets"][0]["selections"]} == {"top"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.safetensors", "-o", "p.html"], "there is no file none.safetensors"),
        (["a.safetensors", "-o", "no/p.html"], "the folder no does not exist"),
        (["a.safetensors", "b.safetensors", "a.safetensors", "-o", "p.html"], "one or two files of scores or circuits"),
        (["a.safetensors", "g.safetensors", "-o", "p.html"], "these are of different graphs"),
        (
            ["a.safetensors", "--method", "tip", "-o", "p.html"],
            "unknown selection method 'tip'; did you mean 'top' or 'ilp'?",
        ),
        (["a.safetensors"], "Missing option '-o' / '--output'"),
        (["broken.json", "-o", "p.html"], "broken.json is not a complete evaluation"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(folder: Path, arguments: list[str], message: str) -> None:
    scores(GROUPED).save("g.safetensors")
    Path("broken.json").write_text('{"eap_plugin": {"schema": 1, "kind": "evaluation"}, "points": 3}')
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output and "Traceback" not in result.output
    assert not Path("p.html").exists()
