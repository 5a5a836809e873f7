"""The figure of a circuit: its nodes in their places in the model, and its edges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.display.plots.circuit_layout import PORTS, Layout, Place, layout, targets
from eap_plugin.display.plots.style import finished, is_dark, sign_colors, styled
from eap_plugin.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOX = Place(0.38, 0.2)
"""Half the width and half the height of a node, in columns and rows."""

ROW, TALLEST = 0.14, 9.0
"""The largest height of a row, as a share of the width, and the height of a figure that fills a page, in inches."""

THINNEST, WIDEST = 0.3, 3.0
"""Widths of the weakest and of the strongest edge, as multiples of the style's line width."""


def circuit_figure(circuit: Circuit, *, style: str | Path = "paper", width: str | float = "single") -> Figure:
    """Draw a circuit with its layers from bottom to top, ``input`` below them and ``logits`` above.

    An edge is blue if its score is positive and vermilion if it is negative, and the wider, the larger its absolute
    score; grey if scores are not known. It enters a head at its q (left), k (middle) or v (right) input. Layers without
    nodes in the circuit are left out, and nodes outside the circuit are drawn faintly.

    Args:
        circuit: the circuit.
        style: see ``styled``.
        width: see ``styled``.

    Raises:
        UsageError: if the circuit has no edges, or there is no such style or width.
        EapPluginError: if matplotlib is not installed.
    """
    if not circuit.n_edges:
        raise UsageError("the circuit has no edges, so there is nothing to draw; select a larger one")
    plan = layout(circuit)
    with styled(style, width) as inches:
        from eap_plugin.display.plots.figure import Figure

        row = min(ROW * inches, max(TALLEST, 1.25 * inches) / (plan.n_rows + 1))
        figure = Figure(figsize=(inches, row * (plan.n_rows + 1)))
        axes = figure.subplots()
        axes.set_xlim(-1.2, plan.n_columns - 0.4)
        axes.set_ylim(-0.45, plan.n_rows - 0.55)
        axes.set_axis_off()
        _draw_edges(axes, circuit, plan)
        _draw_nodes(axes, circuit, plan, min(20.0 * inches / (plan.n_columns + 0.8), 21.0 * row))
        _draw_key(figure, circuit)
        return finished(figure)


def _draw_edges(axes: Axes, circuit: Circuit, plan: Layout) -> None:
    """Draw the weakest edges first, so that the strongest are on top."""
    import matplotlib
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    (positive, negative), base = sign_colors(), matplotlib.rcParams["lines.linewidth"]
    places = [(row, column) for row, column in circuit.edges.nonzero().tolist()]
    scores = [0.0 if circuit.scores is None else float(circuit.scores[place]) for place in places]
    largest = max(map(abs, scores)) or 1.0
    for score, (row, column) in sorted(zip(scores, places, strict=True), key=lambda edge: abs(edge[0])):
        share = abs(score) / largest if circuit.scores is not None else 0.3
        color = "0.5" if circuit.scores is None else negative if score < 0 else positive
        start = plan.places[circuit.graph.sources[row]]
        for name, port in targets(circuit.graph, circuit.graph.readers[column]):
            end = plan.places[name]
            x0, y0 = start.x, start.y + BOX.y
            x1, y1 = end.x + port * BOX.x, end.y - BOX.y
            bend = max(0.45, 0.45 * (y1 - y0))
            path = Curve([(x0, y0), (x0, y0 + bend), (x1, y1 - bend), (x1, y1)], [1, 4, 4, 4])
            line = base * (THINNEST + (WIDEST - THINNEST) * share)
            axes.add_patch(
                PathPatch(path, fill=False, edgecolor=color, linewidth=line, alpha=0.75, capstyle="round", gid="edge")
            )


def _draw_nodes(axes: Axes, circuit: Circuit, plan: Layout, largest_font: float) -> None:
    import matplotlib
    from matplotlib.patches import FancyBboxPatch

    rc = matplotlib.rcParams
    inside, faint = _ends(circuit), "0.35" if is_dark() else "0.75"
    font = min(0.85 * rc["font.size"], largest_font)
    for name, (x, y) in plan.places.items():
        kept = name in inside
        half = 3 * BOX.x if name in ("input", "logits") and plan.n_columns > 4 else BOX.x
        shape = FancyBboxPatch(
            (x - half, y - BOX.y),
            2 * half,
            2 * BOX.y,
            boxstyle="round,pad=0,rounding_size=0.06",
            facecolor=rc["axes.facecolor"],
            edgecolor=rc["text.color"] if kept else faint,
            linewidth=0.5 * rc["lines.linewidth"] * (1.4 if kept else 0.8),
            zorder=2,
        )
        axes.add_patch(shape)
        if kept:
            shown = name if name in ("input", "logits") else name.partition(".")[2] or name
            axes.text(x, y, shown, ha="center", va="center", fontsize=font, zorder=3)
    for layer, y in plan.rows.items():
        axes.text(-0.6, y, f"layer {layer}", ha="right", va="center", fontsize=font, color="0.5")


def _ends(circuit: Circuit) -> set[str]:
    """Return the nodes that an edge of the circuit leaves or enters."""
    graph, ends = circuit.graph, set()
    for row, column in circuit.edges.nonzero().tolist():
        ends |= {graph.sources[row], *(name for name, _ in targets(graph, graph.readers[column]))}
    return ends


def _draw_key(figure: Figure, circuit: Circuit) -> None:
    """Explain the colours and the inputs of heads below the figure."""
    from matplotlib.lines import Line2D

    if circuit.scores is not None:
        texts = ("positive score", "negative score")
        lines = [Line2D([], [], color=color, label=text) for color, text in zip(sign_colors(), texts, strict=True)]
        figure.legend(handles=lines, loc="outside lower center", ncols=2)
    inputs = "" if circuit.graph.summed_qkv else f"; into heads, from the left: {', '.join(PORTS)}"
    size = f"{circuit.n_edges:,} of {circuit.graph.n_edges:,} edges"
    figure.suptitle(size + inputs, fontsize="medium")
