"""The figure of two scores of the same edges, nodes or neurons against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.circuits.comparison.ranking import aligned, rank_correlation, values
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.display.plots.scale import set_signed_scale
from eap_plugin.display.plots.style import finished, label, sign_colors, styled
from eap_plugin.results.text_table import fixed

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def scatter_figure(
    a: Scores, b: Scores, names: Sequence[str], *, style: str | Path = "paper", width: str | float = "single"
) -> Figure:
    """Draw two scores of the same edges (nodes, neurons) against each other, with Spearman's rank correlations.

    Both axes are linear in the square root of the absolute score. Scores kept per position are summed over positions.

    Args:
        a: the scores on the x axis.
        b: those on the y axis.
        names: their names.
        style: see ``styled``.
        width: see ``styled``.

    Raises:
        UsageError: if they are of different levels or graphs.
        EapPluginError: if matplotlib is not installed.
    """
    a, b = aligned(a, b)
    x, y = values(a), values(b)
    signed, absolute = rank_correlation(x, y), rank_correlation(x.abs(), y.abs())
    with styled(style, width) as inches:
        from eap_plugin.display.plots.figure import Figure

        figure = Figure(figsize=(inches, 0.95 * inches))
        axes = figure.subplots()
        axes.axhline(0, color="0.6", linewidth=0.6, zorder=0)
        axes.axvline(0, color="0.6", linewidth=0.6, zorder=0)
        axes.scatter(
            x.numpy(), y.numpy(), s=1.2 * inches, color=sign_colors()[0], alpha=0.6, linewidths=0, rasterized=True
        )
        set_signed_scale(axes, "x", x.numpy())
        set_signed_scale(axes, "y", y.numpy())
        axes.set_xlabel(f"Score: {label(names[0])}")
        axes.set_ylabel(f"Score: {label(names[1])}")
        axes.set_title(
            f"{len(x):,} {a.level}s\nSpearman's ρ {fixed(signed)}, of |score| {fixed(absolute)}".replace("-", "−"),
            fontsize="medium",
        )
        return finished(figure)
