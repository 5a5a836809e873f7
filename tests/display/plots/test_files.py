"""``eap plot`` writes each kind in each format, whole or not at all, and the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

import eap_plugin
from eap_plugin.cli import main
from tests.display.plots.made import evaluation, scores

KINDS = {
    "faithfulness": ("eval-a.json", "eval-b.json"),
    "scores": ("a.safetensors",),
    "scatter": ("a.safetensors", "b.safetensors"),
    "positions": ("positions.safetensors",),
    "nodes": ("a.safetensors",),
    "circuit": ("circuit.json",),
}
BEGINS = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF", "dot": b"// eap_plugin"}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    scores("eap").save("a.safetensors")
    scores("gim", seed=1).save("b.safetensors")
    scores(n_positions=3).save("positions.safetensors")
    evaluation("eap").save("eval-a.json")
    evaluation(None).save("eval-b.json")
    eap_plugin.select(scores(), edges=12, prune=False).save("circuit.json")
    return tmp_path


def plot(*arguments: str) -> str:
    result = CliRunner().invoke(main, ["plot", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_in_every_format(kind: str, files: Path) -> None:
    for suffix in ("png", "svg", "pdf"):
        assert plot(*KINDS[kind], "--kind", kind, "-o", f"one.{suffix}") == f"Saved to one.{suffix}\n"
        plot(*KINDS[kind], "--kind", kind, "-o", f"two.{suffix}")
        first = (files / f"one.{suffix}").read_bytes()
        assert first.startswith(BEGINS[suffix])
        assert first == (files / f"two.{suffix}").read_bytes()
        assert b"2026" not in first if suffix == "svg" else b"CreationDate" not in first


def test_text_in_svg_is_text(files: Path) -> None:
    plot("eval-a.json", "eval-b.json", "-o", "a.svg", "--name", "first", "--name", "<second>")
    texts = {element.text for element in ElementTree.parse("a.svg").iter() if element.tag.endswith("}text")}
    assert {"first", "<second>", "Faithfulness", "Edges selected"} <= texts


def test_the_kind_follows_from_the_files(files: Path) -> None:
    shown = {
        ("eval-a.json", "eval-b.json"): {"eap", "eval-b.json"},
        ("a.safetensors", "b.safetensors"): {"Score: eap", "Score: gim"},
        ("a.safetensors",): {"Writer", "Reader"},
        ("circuit.json",): {"input", "logits"},
    }
    for names, expected in shown.items():
        plot(*names, "-o", "a.svg", "--overwrite")
        texts = {element.text for element in ElementTree.parse("a.svg").iter() if element.tag.endswith("}text")}
        assert expected <= texts


def test_dot_holds_the_circuit(files: Path) -> None:
    plot("circuit.json", "-o", "a.dot")
    assert eap_plugin.load_circuit("a.dot") == eap_plugin.load_circuit("circuit.json")
    plot("a.safetensors", "--edges", "7", "-o", "b.dot")
    assert eap_plugin.load_circuit("b.dot").n_edges == 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.safetensors", "-o", "a.jpg"], "ends in .png, .svg, .pdf or .dot; got a.jpg"),
        (["a.safetensors", "-o", "no/a.png"], "the folder no does not exist"),
        (["nothing.json", "-o", "a.png"], "there is no file nothing.json"),
        (["a.safetensors", "--kind", "circuit", "--style", "nosuch", "-o", "a.png"], "unknown style 'nosuch'"),
    ],
)
def test_a_mistake_leaves_no_file(files: Path, arguments: list[str], message: str) -> None:
    before = sorted(files.iterdir())
    result = CliRunner().invoke(main, ["plot", *arguments])
    assert result.exit_code == 2
    assert message in result.output
    assert sorted(files.iterdir()) == before


def test_a_style_file_is_applied(files: Path) -> None:
    Path("mine.mplstyle").write_text("axes.facecolor: 123456\ntext.usetex: True\n")
    plot("a.safetensors", "--kind", "nodes", "--style", "mine.mplstyle", "-o", "a.svg")
    assert "#123456" in Path("a.svg").read_text()


def test_without_matplotlib_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    result = CliRunner().invoke(main, ["plot", "a.safetensors", "-o", "a.png"])
    assert result.exit_code == 1
    assert result.output == (
        "Error: figures need matplotlib, which is not installed; install it with: pip install 'eap-plugin[plot]'\n"
    )


def test_neither_import_nor_figure_loads_pyplot(files: Path) -> None:
    code = (
        "import sys, eap_plugin; eap_plugin.plot; assert 'matplotlib' not in sys.modules; "
        "eap_plugin.plot('a.safetensors'); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
