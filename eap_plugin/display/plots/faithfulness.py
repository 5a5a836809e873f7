"""The figure of faithfulness by size, of one evaluation or of several, such as those of several algorithms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.circuits.evaluation.result import Evaluation, Point
from eap_plugin.display.plots.scale import set_size_scale
from eap_plugin.display.plots.style import CYCLE, MARKERS, finished, label, styled
from eap_plugin.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Curve:
    """The points of an evaluation that were selected in one way, in the order of their sizes.

    Attributes:
        name: what the legend calls it.
        points: the points.
        selected: whether circuits of several sizes were selected from scores, so that the points are one curve.
    """

    name: str
    points: tuple[Point, ...]
    selected: bool


def faithfulness_figure(
    evaluations: Sequence[Evaluation],
    names: Sequence[str],
    *,
    signed: bool | None = None,
    style: str | Path = "paper",
    width: str | float = "single",
) -> Figure:
    """Draw the faithfulness of circuits by the number of edges selected, with 95 % intervals over prompts.

    Random circuits of the same sizes, if an evaluation has them, are drawn once, with the range of 95 % of them.

    Args:
        evaluations: one for each algorithm, of models with the same graph.
        names: a name for each.
        signed: draw the selection by score, or if false by absolute score; by default that by absolute score of
            several evaluations, and both of one.
        style: see ``styled``.
        width: see ``styled``.

    Raises:
        UsageError: if the evaluations have no circuits that were selected so, or are not comparable.
        EapPluginError: if matplotlib is not installed.
    """
    unit = _unit(evaluations)
    curves = list(_curves(evaluations, names, signed))
    if not curves:
        raise UsageError(
            f"no evaluation has circuits selected by {'score' if signed else 'absolute score'}; evaluate scores with "
            f"both (leave out signed=, --signed and --absolute)"
        )
    with styled(style, width) as inches:
        from eap_plugin.display.plots.figure import Figure

        figure = Figure(figsize=(inches, 0.72 * inches))
        axes = figure.subplots()
        axes.axhline(1, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
        axes.axhline(0, color="0.6", linewidth=0.6, linestyle=":", zorder=0)
        for index, curve in enumerate(curves):
            _draw(axes, curve, CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)])
        _draw_random(axes, curves)
        set_size_scale(axes, [point.size for curve in curves for point in curve.points])
        axes.set_xlabel(f"{unit} selected")
        axes.set_ylabel("Faithfulness")
        if len(axes.get_legend_handles_labels()[1]) > 1:
            figure.legend(loc="outside lower center", ncols=2)
        return finished(figure)


def evaluation_name(evaluation: Evaluation, file: str | None = None) -> str:
    """Return what to call an evaluation: the algorithm of its scores; otherwise the file, or ``circuit``."""
    return str(evaluation.evaluated.get("algorithm") or file or "circuit")


def _unit(evaluations: Sequence[Evaluation]) -> str:
    """Return what was selected, such as ``Edges``.

    Raises:
        UsageError: if it is not the same in all evaluations.
    """
    levels = [str(evaluation.selection.get("level", "edge")) for evaluation in evaluations]
    if len(set(levels)) > 1:
        raise UsageError(f"circuits of {'s and of '.join(sorted(set(levels)))}s cannot be drawn in one figure")
    return f"{levels[0].capitalize()}s"


def _curves(evaluations: Sequence[Evaluation], names: Sequence[str], signed: bool | None) -> Iterator[Curve]:
    repeated = Counter(names)
    for index, (evaluation, name) in enumerate(zip(evaluations, names, strict=True), start=1):
        shown = label(name) if repeated[name] == 1 else f"{label(name)} ({index})"
        found = {by: [point for point in evaluation.points if point.signed is by] for by in (False, True, None)}
        if len(evaluations) == 1 and signed is None and found[False] and found[True]:
            yield Curve(f"{shown}, by absolute score", _sorted(found[False]), True)
            yield Curve(f"{shown}, by score", _sorted(found[True]), True)
            continue
        wanted = found[bool(signed)] or (found[True] if signed is None else [])
        if wanted:
            yield Curve(shown, _sorted(wanted), True)
        elif found[None]:
            yield Curve(shown, _sorted(found[None]), False)


def _sorted(points: Sequence[Point]) -> tuple[Point, ...]:
    return tuple(sorted(points, key=lambda point: point.size))


def _draw(axes: Axes, curve: Curve, color: str, marker: str) -> None:
    sizes = [point.size for point in curve.points]
    values = [point.faithfulness for point in curve.points]
    bounds = [point.interval or (point.faithfulness, point.faithfulness) for point in curve.points]
    line = "-" if curve.selected else "none"
    axes.plot(sizes, values, linestyle=line, marker=marker, color=color, label=curve.name)
    if curve.selected:
        axes.fill_between(sizes, [low for low, _ in bounds], [high for _, high in bounds], color=color, alpha=0.2, lw=0)
    else:
        axes.vlines(sizes, [low for low, _ in bounds], [high for _, high in bounds], color=color)


def _draw_random(axes: Axes, curves: Sequence[Curve]) -> None:
    """Draw the random circuits of the first curve that has them."""
    for curve in curves:
        points = [point for point in curve.points if point.random_band is not None]
        if points:
            sizes = [point.size for point in points]
            bands = [point.random_band or (0.0, 0.0) for point in points]
            means = [point.random_mean or 0.0 for point in points]
            axes.plot(sizes, means, color="0.5", linestyle="--", label="random circuits", marker="none", zorder=1)
            axes.fill_between(
                sizes, [low for low, _ in bands], [high for _, high in bands], color="0.5", alpha=0.2, lw=0, zorder=1
            )
            return
