"""Results display themselves in notebooks: a table and the viewer, which is isolated; names are text."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import eap_plugin
from eap_plugin.display import notebook
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores
from tests.display.plots.made import HOSTILE, evaluation, node_scores, scores

RESULTS = [scores(), scores(n_positions=2), node_scores(), evaluation(), eap_plugin.select(scores(), edges=12)]


class _Tags(HTMLParser):
    """The tags of a document with their attributes, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("result", RESULTS, ids=lambda result: repr(result))
def test_a_table_and_the_viewer_in_a_sandbox(result: Any) -> None:
    found = _Tags(result._repr_html_())
    assert [tag for tag, _ in found.tags if tag in ("table", "iframe", "script")] == ["table", "iframe"]
    frame = dict(found.tags)["iframe"]
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert str(frame["srcdoc"]).startswith("<!DOCTYPE html>")
    assert repr(result).strip("<>") in found.text


def test_the_table_has_the_strongest_edges_and_their_scores() -> None:
    found = _Tags(scores()._repr_html_())
    for edge in scores().top(5):
        assert f"{edge.name}{edge.score:+.4g}" in found.text
    assert "Score (logits)" in found.text


@pytest.mark.parametrize("result", [scores(HOSTILE), evaluation(HOSTILE)], ids=["scores", "evaluation"])
def test_names_from_files_are_text(result: Any) -> None:
    html = result._repr_html_()
    assert [tag for tag, _ in _Tags(html).tags if tag == "script"] == []
    assert "<script>alert" not in html
    assert "\x1b" not in html


def test_a_large_viewer_is_shown_on_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "LARGEST_FRAME", 1000)
    found = _Tags(scores()._repr_html_())
    assert "iframe" not in dict(found.tags)
    assert ".view()" in found.text
    assert "iframe" in dict(_Tags(scores().view()._repr_html_()).tags)


def test_a_view_is_the_page_and_can_be_saved(tmp_path: Path) -> None:
    circuit = eap_plugin.select(scores(), edges=12)
    shown = circuit.view(evaluation(), path=tmp_path / "a.html", title="Mine", height=400)
    assert (tmp_path / "a.html").read_text("utf-8") == shown.html
    assert "Mine" in shown.html
    assert "height: 400px" in shown._repr_html_()
    assert repr(shown).startswith("<View: a page of 0.")


def test_plot_is_a_figure(tmp_path: Path) -> None:
    figure = scores().plot("nodes", path=tmp_path / "a.png", style="talk")
    assert figure.axes[0].get_xlabel() == "Layer"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert evaluation().plot().axes[0].get_ylabel() == "Faithfulness"
    with pytest.raises(eap_plugin.UsageError, match="a DOT file holds a circuit"):
        scores().plot("circuit", path=tmp_path / "a.dot")


def test_elsewhere_results_are_plain_text() -> None:
    assert repr(PruneScores(Graph(1, 1, 1), scores().matrix[:3, :5] * 0)) == "<PruneScores: edge scores of 8 edges>"
