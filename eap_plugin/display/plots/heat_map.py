"""The figure of all scores of edges, as a heat map [writers × readers]."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.display.plots.scale import signed_sqrt, signed_square, tick_text, ticks
from eap_plugin.display.plots.style import finished, is_dark, sign_colors, styled
from eap_plugin.model.graph import Graph
from eap_plugin.results.export import to_numpy
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.score_unit import with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_NAMES = 60
"""The number of names that an axis of the full width of a page has room for; with more, only layers are named."""


def heat_map_figure(scores: PruneScores, *, style: str | Path = "paper", width: str | float = "double") -> Figure:
    """Draw the scores of all edges, a row for each writer and a column for each reader.

    The colour is linear in the square root of the absolute score, so that small scores can be seen beside large ones;
    where there is no edge, nothing is drawn. Scores kept per position are summed over positions.

    Args:
        scores: the scores.
        style: see ``styled``.
        width: see ``styled``.

    Raises:
        UsageError: if there is no such style or width.
        EapPluginError: if matplotlib is not installed.
    """
    flat = scores.sum_positions()
    graph = flat.graph
    with styled(style, width) as inches:
        import numpy as np
        from matplotlib.colors import FuncNorm, LinearSegmentedColormap

        from eap_plugin.display.plots.figure import Figure

        rows, columns = len(graph.sources), len(graph.readers)
        figure = Figure(figsize=(inches, min(max(0.85 * inches * rows / columns, 0.35 * inches), 1.2 * inches)))
        axes = figure.subplots()
        matrix = np.where(flat.is_edge.cpu().numpy(), to_numpy(flat.matrix), np.nan)
        largest = float(np.nanmax(np.abs(matrix))) or 1.0
        norm = FuncNorm((signed_sqrt, signed_square), vmin=-largest, vmax=largest)
        positive, negative = sign_colors()
        middle, outside = ("#15181e", "#3a414d") if is_dark() else ("#f7f7f7", "#d9d9d9")
        colors = LinearSegmentedColormap.from_list("signed", [negative, middle, positive])
        axes.set_facecolor(outside)
        image = axes.imshow(matrix, cmap=colors, norm=norm, aspect="auto", interpolation="nearest")
        names = [graph.reader_name(reader) for reader in graph.readers]
        _name(axes, "x", names, [_layer_of_reader(graph, column) for column in range(columns)])
        _name(axes, "y", graph.sources, [_layer_of_source(graph, row) for row in range(rows)])
        axes.set_xlabel("Reader")
        axes.set_ylabel("Writer")
        axes.spines[["top", "right"]].set_visible(True)
        bar = figure.colorbar(image, ax=axes, label=with_unit("Score", flat.metadata), pad=0.02)
        places = ticks(-largest, largest)
        bar.set_ticks(places, labels=[tick_text(place) for place in places])
        bar.minorticks_off()
        return finished(figure)


def _layer_of_source(graph: Graph, row: int) -> str:
    return "input" if row == 0 else str(graph.writer(row).layer)


def _layer_of_reader(graph: Graph, column: int) -> str:
    reader = graph.readers[column]
    return "logits" if reader.slot == "logits" else str(reader.layer)


def _name(axes: Axes, axis: str, names: Sequence[str], layers: Sequence[str]) -> None:
    """Name the rows or columns; where there are too many, name the layers, and draw lines between them."""
    if len(names) <= MOST_NAMES:
        how = {"rotation": 90} if axis == "x" else {}
        getattr(axes, f"set_{axis}ticks")(range(len(names)), labels=names, **how)
        axes.tick_params(axis, length=0, labelsize="small")  # type: ignore[arg-type]
        return
    starts = [index for index, layer in enumerate(layers) if index == 0 or layer != layers[index - 1]]
    ends = [*starts[1:], len(layers)]
    shown = [(start, end) for start, end in zip(starts, ends, strict=True) if layers[start].isdigit()]
    getattr(axes, f"set_{axis}ticks")(
        [(start + end - 1) / 2 for start, end in shown], labels=[layers[start] for start, _ in shown]
    )
    for start in starts[1:]:
        (axes.axvline if axis == "x" else axes.axhline)(start - 0.5, color="0.5", linewidth=0.3)
