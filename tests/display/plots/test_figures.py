"""Figures show the numbers of the results: what is drawn is read back and compared with them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from scipy.stats import spearmanr

import eap_plugin
from eap_plugin.display.plots.style import NEGATIVE, POSITIVE
from eap_plugin.errors import UsageError
from tests.display.plots.made import GRAPH, HOSTILE, MATHS, evaluation, node_scores, scores

SINGLE = 3.5


def drawn(figure: Figure) -> Any:
    """Draw a figure without a warning, and return its first axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.canvas.draw()
    return figure.axes[0]


def lines(axes: Any) -> dict[str, Any]:
    return {line.get_label(): line for line in axes.lines if not str(line.get_label()).startswith("_")}


def test_scores_have_the_unit_of_their_algorithm() -> None:
    """Not that of the metric, where the algorithm's scores have another."""
    for own, metadata in (("probability", {"score_unit": "probability", "metric_unit": "logits"}), ("logits", {})):
        made = scores(n_positions=3)
        made.metadata.pop("score_unit", None)
        made.metadata.update({"metric_unit": "logits"} | metadata)
        nodes, places = drawn(made.plot("nodes")), drawn(made.plot("positions"))
        heat_map = made.plot("scores")
        assert nodes.get_ylabel() == f"Σ |score| of edges out ({own})"
        assert places.get_ylabel() == f"Sum of scores ({own})"
        assert heat_map.axes[1].get_ylabel() == f"Score ({own})"
        assert f"<th>Score ({own})</th>" in made._repr_html_()


def test_one_evaluation_is_two_curves_with_bands() -> None:
    found = evaluation(random=True)
    axes = drawn(eap_plugin.plot(found))
    curves = lines(axes)
    assert list(curves) == ["eap, by absolute score", "eap, by score", "random circuits"]
    for name, signed in (("eap, by absolute score", False), ("eap, by score", True)):
        points = [point for point in found.points if point.signed is signed]
        assert curves[name].get_xdata().tolist() == [point.size for point in points]
        assert curves[name].get_ydata().tolist() == [point.faithfulness for point in points]
    band = next(part for part in axes.collections if isinstance(part, PolyCollection))
    ends = band.get_paths()[0].vertices
    assert {(28.0, 0.9), (28.0, 1.05)} <= {(x, round(y, 9)) for x, y in ends.tolist()}
    assert axes.get_xlabel() == "Edges selected"
    assert axes.get_ylabel() == "Faithfulness"
    assert axes.get_xscale() == "symlog"


def test_evaluations_of_several_algorithms_are_a_curve_each() -> None:
    found = evaluation("eap", (3, 9, 28)), evaluation("gim", (3, 9, 28)), evaluation("gim", (3, 9, 28))
    curves = lines(axes := drawn(eap_plugin.plot(*found)))
    assert list(curves) == ["eap", "gim (2)", "gim (3)"]
    assert (
        len({line.get_color() for line in curves.values()}) == len({line.get_marker() for line in curves.values()}) == 3
    )
    assert curves["eap"].get_ydata()[-1] == 1
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["3", "28"]
    signed = lines(drawn(eap_plugin.plot(*found, signed=True, names=("a", "b", "c"))))
    assert signed["a"].get_ydata()[-1] == 0.8


def test_the_heat_map_has_a_row_for_each_writer_and_a_column_for_each_reader() -> None:
    what = scores(n_positions=3)
    figure = eap_plugin.plot(what, kind="scores")
    axes = drawn(figure)
    shown = axes.images[0].get_array()
    assert np.ma.getmaskarray(shown).tolist() == (~what.is_edge).tolist()
    assert np.allclose(shown.filled(0), what.sum_positions().to_numpy())
    assert [text.get_text() for text in axes.get_yticklabels()] == list(GRAPH.sources)
    assert [text.get_text() for text in axes.get_xticklabels()] == list(GRAPH.columns)
    assert figure.axes[1].get_ylabel() == "Score (logits)"


def test_the_scatter_gives_spearmans_correlation() -> None:
    a, b = scores("eap"), scores("gim", seed=1)
    axes = drawn(eap_plugin.plot(a, b))
    x, y = a.matrix[a.is_edge].numpy(), b.matrix[b.is_edge].numpy()
    assert np.allclose(axes.collections[0].get_offsets(), np.stack([x, y], 1))
    rho, absolute = spearmanr(x, y).statistic, spearmanr(abs(x), abs(y)).statistic
    assert f"ρ {rho:+.3f}, of |score| {absolute:+.3f}".replace("-", "−") in axes.get_title()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Score: eap", "Score: gim")
    low, high = axes.get_xlim()
    assert low < x.min() < x.max() < high


def test_positions_are_the_sums_of_positive_and_of_negative_scores() -> None:
    what = scores(n_positions=3)
    axes = drawn(eap_plugin.plot(what, kind="positions", tokens=["When", " $x$", " "]))
    up, down = ([bar.get_height() for bar in bars] for bars in axes.containers)
    assert np.allclose(up, what.matrix.clamp(min=0).sum((1, 2)))
    assert np.allclose(down, what.matrix.clamp(max=0).sum((1, 2)))
    assert [text.get_text() for text in axes.get_xticklabels()] == ["When", "$x$", "␣"]
    with pytest.raises(UsageError, match="one entry per position; got 2 for 3 positions"):
        eap_plugin.plot(what, kind="positions", tokens=["a", "b"])


@pytest.mark.parametrize("what", [scores(), node_scores()], ids=["edges", "nodes"])
def test_nodes_are_at_their_layer_with_their_strength(what: Any) -> None:
    curves = lines(drawn(eap_plugin.plot(what, kind="nodes")))
    strength = what.matrix.abs() if what.matrix.ndim == 1 else what.matrix.abs().sum(1)
    for name, layer, label in (("input", -1, "input"), ("a1.h2", 1, "heads"), ("m0", 0, "MLP")):
        places = curves[label].get_xdata().tolist(), curves[label].get_ydata().tolist()
        assert any(
            x == layer and y == pytest.approx(float(strength[GRAPH.rows[name]])) for x, y in zip(*places, strict=True)
        )


def test_a_circuit_is_drawn_edge_by_edge() -> None:
    circuit = eap_plugin.select(scores(), edges=12, prune=False)
    axes = drawn(eap_plugin.plot(circuit))
    edges = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
    ends = {"<k>": 2, "<v>": 2}  # heads that share the key or value head of a group
    assert len(edges) == sum(ends.get(name[-3:], 1) for name in circuit.edge_names)
    assert circuit.scores is not None
    strongest = circuit.top(1)[0]
    color = matplotlib.colors.to_hex(edges[-1].get_edgecolor()).upper()
    assert color == (POSITIVE if strongest.score > 0 else NEGATIVE)
    widths = [edge.get_linewidth() for edge in edges]
    assert widths == sorted(widths)
    places = {text.get_text(): text.get_position()[1] for text in axes.texts}
    assert places["input"] < places["logits"]
    assert all(
        y0 < y1 for y0, y1 in ((edge.get_path().vertices[0][1], edge.get_path().vertices[-1][1]) for edge in edges)
    )


@pytest.mark.parametrize("kind", ["scores", "circuit", "nodes"])
@pytest.mark.parametrize("style", ["paper", "talk", "dark", "ggplot"])
def test_styles_leave_no_label_outside_and_no_setting_behind(kind: str, style: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = eap_plugin.plot(scores(), kind=kind, style=style, width="double")
    drawn(figure)
    assert dict(matplotlib.rcParams) == before
    outside = figure.bbox.padded(1)
    for text in figure.findobj(Text, include_self=False):
        if text.get_visible() and text.get_text() and text.axes is not None and text in text.axes.texts:
            box = text.get_window_extent()
            assert outside.x0 <= box.x0 and box.x1 <= outside.x1 and outside.y0 <= box.y0 and box.y1 <= outside.y1


def test_widths() -> None:
    assert eap_plugin.plot(scores(), kind="nodes").get_figwidth() == SINGLE
    assert eap_plugin.plot(scores(), kind="nodes", width="double", style="talk").get_figwidth() == 12
    assert eap_plugin.plot(scores(), kind="nodes", width=5).get_figwidth() == 5


def test_names_are_text_whatever_they_contain(tmp_path: Path) -> None:
    figures = {
        "scatter": eap_plugin.plot(scores(HOSTILE), scores(HOSTILE, seed=1)),
        "faithfulness": eap_plugin.plot(evaluation(HOSTILE), evaluation("eap")),
        "positions": eap_plugin.plot(scores(n_positions=2), kind="positions", tokens=[MATHS, HOSTILE]),
    }
    for name, figure in figures.items():
        drawn(figure)
        texts = [text for text in figure.findobj(Text) if "frac" in text.get_text()]
        assert texts, name
        for text in texts:
            assert not text.get_parse_math() and not text.get_usetex()
            assert len(text.get_text()) < 60 and "\x1b" not in text.get_text()
    eap_plugin.plot(scores(HOSTILE), scores(HOSTILE, seed=1), path=tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert r"$\frac{1}{0}$" in svg and "<script" not in svg


@pytest.mark.parametrize(
    ("things", "options", "message"),
    [
        ([scores()], {"kind": "pie"}, "unknown kind of figure 'pie'"),
        ([scores()], {"kind": "positions"}, "not kept per position"),
        ([scores()], {"kind": "faithfulness"}, "needs one or more evaluations"),
        ([evaluation()], {"kind": "scores"}, "needs scores of edges"),
        ([node_scores()], {"kind": "circuit"}, "needs a circuit, or scores of edges"),
        ([scores(), evaluation()], {}, "no figure shows all of these"),
        ([], {}, "no figure shows all of these"),
        ([scores()], {"edges": 3}, "edges is for figures of the kind circuit, not scores"),
        ([scores()], {"style": "nosuch"}, "unknown style 'nosuch'"),
        ([scores()], {"width": "triple"}, "single, double or 1 to 40 inches"),
        ([scores()], {"names": ["a", "b"]}, "give a name for each of the 1 things"),
        ([scores()], {"path": "a.jpg"}, "ends in .png, .svg, .pdf or .dot"),
        ([scores()], {"path": "a.dot", "kind": "nodes"}, "a DOT file holds a circuit"),
    ],
)
def test_mistakes_are_one_line(things: list[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        eap_plugin.plot(*things, **options)
    assert "\n" not in str(error.value)


def test_an_empty_circuit_is_not_drawn() -> None:
    with pytest.raises(UsageError, match="no edges, so there is nothing to draw"):
        eap_plugin.plot(eap_plugin.select(scores(), edges=0))


def test_scores_that_are_all_zero_are_drawn() -> None:
    for kind in ("scores", "nodes", "circuit"):
        drawn(eap_plugin.plot(scores() * 0, kind=kind))
    drawn(eap_plugin.plot(scores() * 0, scores() * 0))
