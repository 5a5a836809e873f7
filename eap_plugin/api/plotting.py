"""Figures of scores, circuits and evaluations, from objects or from files of any known format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.api.viewing import read_viewable
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.display.plots.dispatch import Plottable, drawn_circuit, figure_of
from eap_plugin.display.plots.faithfulness import evaluation_name
from eap_plugin.display.plots.files import format_of_figure, write_figure
from eap_plugin.errors import UsageError
from eap_plugin.score_format.dot import Dot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot(
    *things: Plottable | str | Path,
    path: str | Path | None = None,
    kind: str | None = None,
    names: Sequence[str] | None = None,
    style: str | Path = "paper",
    width: str | float | None = None,
    edges: int | None = None,
    signed: bool | None = None,
    tokens: Sequence[str] | None = None,
) -> Figure:
    """Draw a figure of scores, circuits or evaluations with matplotlib.

    | kind | of | shows |
    | --- | --- | --- |
    | ``faithfulness`` | one or more evaluations | faithfulness by size, with 95 % intervals, random circuits beside |
    | ``scores`` | scores of edges | heat map, writers × readers |
    | ``scatter`` | two scores | one against the other, with Spearman's rank correlation |
    | ``positions`` | scores kept per position | positive and negative scores summed at each position |
    | ``nodes`` | scores | strength of heads and MLPs by layer |
    | ``circuit`` | a circuit, or scores of edges | the nodes in their places, and the edges |

    Neither pyplot nor a backend is touched: the figure belongs to the caller. A notebook displays a figure that is a
    cell's last expression.

    Args:
        *things: results, or their files.
        path: if given, the file to write, which ends in ``.png``, ``.svg``, ``.pdf`` or, for circuits, ``.dot``. The
            same figure gives the same bytes with the same version of matplotlib; text in SVG and PDF files is text.
        kind: the kind of figure; by default the first in the table that suits what is given.
        names: a name for each, for axes and legend; by default the algorithm, or the file of a circuit's evaluation.
        style: ``paper``, ``talk`` or ``dark``, the name of one of matplotlib's styles, or a style file.
        width: ``single`` or ``double`` for one or two columns of a page, or a number of inches; by default ``single``,
            and ``double`` for heat maps.
        edges: for ``circuit`` from scores, the number of strongest edges to select; by default 50.
        signed: for ``faithfulness``, draw the selection by score, or if false by absolute score; by default that by
            absolute score of several evaluations, and both of one.
        tokens: for ``positions``, a label for each position.

    Raises:
        UsageError: if the kind does not suit what is given, or an argument is wrong.
        EapPluginError: if matplotlib is not installed, or a file cannot be read or written.
    """
    format = None if path is None else format_of_figure(Path(path))
    if format == "dot":
        kind = kind or "circuit"
        if kind != "circuit":
            raise UsageError(f"a DOT file holds a circuit, not a figure of the kind {kind}; write .png, .svg or .pdf")
    found = [read_viewable(Path(thing)) if isinstance(thing, str | Path) else thing for thing in things]
    if names is not None and len(names) != len(found):
        raise UsageError(f"give a name for each of the {len(found)} things to draw; got {len(names)} names")
    if names is None and any(isinstance(thing, str | Path) for thing in things):
        names = [_name(*pair) for pair in zip(things, found, strict=True)]
    figure = figure_of(found, names, kind, style=style, width=width, edges=edges, signed=signed, tokens=tokens)
    if path is not None and format == "dot":
        Dot().write(drawn_circuit(found[0], edges), Path(path))
    elif path is not None:
        write_figure(figure, Path(path), style)
    return figure


def _name(given: Plottable | str | Path, found: Plottable) -> str:
    file = Path(given).name if isinstance(given, str | Path) else None
    if isinstance(found, Evaluation):
        return evaluation_name(found, file)
    return str(found.metadata.get("algorithm") or file or "scores")
