"""The figure of how strong the heads and the MLP of each layer are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.circuits.selection.base import Scores
from eap_plugin.display.plots.scale import set_signed_scale
from eap_plugin.display.plots.style import finished, sign_colors, styled
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.score_unit import with_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

N_NAMED = 6
"""The number of the strongest writers that are named."""


def nodes_figure(scores: Scores, *, style: str | Path = "paper", width: str | float = "single") -> Figure:
    """Draw the strength of every writer by its layer: the sum of the absolute scores of the edges out of it.

    From scores of nodes or neurons, it is the absolute score of the node, or the sum of those of its neurons. The axis
    is linear in the square root of the strength. Scores kept per position are summed over positions first.

    Args:
        scores: the scores.
        style: see ``styled``.
        width: see ``styled``.

    Raises:
        UsageError: if there is no such style or width.
        EapPluginError: if matplotlib is not installed.
    """
    graph, strengths = scores.graph, node_strengths(scores)
    writers = [graph.writer(row) for row in range(len(graph.sources))]
    with styled(style, width) as inches:
        from eap_plugin.display.plots.figure import Figure

        figure = Figure(figsize=(inches, 0.7 * inches))
        axes = figure.subplots()
        blue, vermilion = sign_colors()
        shapes = (("input", "input", "s", "0.5"), ("head", "heads", "o", blue), ("mlp", "MLP", "D", vermilion))
        for kind, name, marker, color in shapes:
            rows = [row for row, writer in enumerate(writers) if writer.kind == kind]
            if rows:
                places = [writers[row].layer - (kind == "input") for row in rows]
                heights = strengths[rows].tolist()
                axes.plot(places, heights, marker=marker, color=color, linestyle="none", label=name, alpha=0.8)
        set_signed_scale(axes, "y", strengths.numpy())
        axes.set_xlim(-1.6, graph.n_layers - 0.4)
        step = max(1, graph.n_layers // 12)
        layers = range(0, graph.n_layers, step)
        axes.set_xticks([-1, *layers], labels=["input", *map(str, layers)])
        axes.set_xlabel("Layer")
        what = "Σ |score| of edges out" if isinstance(scores, PruneScores) else "|score|"
        axes.set_ylabel(with_unit(what, scores.metadata))
        _name_strongest(axes, scores, strengths)
        figure.legend(loc="outside lower center", ncols=3)
        return finished(figure)


def node_strengths(scores: Scores) -> Float[Tensor, "sources"]:
    """Return the sum of the absolute scores of each writer's outgoing edges, or of its neurons, or its own."""
    matrix = scores.sum_positions().matrix.detach().cpu().double().abs()
    return matrix if matrix.ndim == 1 else matrix.sum(1)


def _name_strongest(axes: Axes, scores: Scores, strengths: Float[Tensor, "sources"]) -> None:
    """Write the names of the strongest writers beside them, without one name on another."""
    graph = scores.graph
    lowest: dict[int, float] = {}
    largest = float(strengths.max())
    order = torch.sort(strengths, descending=True, stable=True).indices[:N_NAMED].tolist()
    for row in order:
        writer, height = graph.writer(row), float(strengths[row])
        layer = writer.layer - (writer.kind == "input")
        distance = lowest.get(layer, float("inf")) ** 0.5 - height**0.5
        if writer.kind == "input" or distance < 0.06 * largest**0.5:
            continue
        lowest[layer] = height
        axes.annotate(
            graph.sources[row],
            (layer, height),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
