"""How results appear in notebooks: a small table, and the viewer in a frame that has no access to the notebook."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.display.plots.dispatch import Plottable, figure_of
from eap_plugin.display.plots.files import write_figure
from eap_plugin.display.viewer.page import page
from eap_plugin.files import write_whole
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.score_unit import with_unit
from eap_plugin.results.visible_text import visible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROWS, SIZES = 5, 10
"""The numbers of the strongest edges, and of the sizes of an evaluation, that a table has at most."""

LARGEST_FRAME = 1_000_000
"""The number of characters of a page up to which results display it by themselves, as it becomes part of the notebook;
``view()`` displays larger ones, too."""

HEIGHT = 560
"""The height of the frame in which results display themselves, in pixels."""


@dataclass(frozen=True)
class View:
    """The viewer of some results: a notebook displays it, and ``html`` is the whole page.

    Attributes:
        html: an HTML document that needs no network and no other file.
        height: the height in a notebook, in pixels.
    """

    html: str
    height: int

    def __repr__(self) -> str:
        """Describe it in one line."""
        return f"<View: a page of {len(self.html) / 1e6:.1f} MB; shown in a notebook, or saved with view(path=...)>"

    def _repr_html_(self) -> str:
        return frame(self.html, self.height)


def plot(thing: Plottable, *, kind: str | None, path: str | Path | None, **options: Any) -> Figure:
    """Draw a figure of one result; see ``eap_plugin.plot``."""
    figure = figure_of([thing], kind=kind, **options)
    if path is not None:
        write_figure(figure, Path(path), options.get("style", "paper"))
    return figure


def view(*things: Plottable, path: str | Path | None, title: str | None, height: int) -> View:
    """Make the viewer of results; see ``Displayable.view``."""
    made = View(page(*things, title=title), height)
    if path is not None:
        write_whole(Path(path), made.html.encode())
    return made


def html_of(thing: Plottable) -> str:
    """Return a summary, a table of the strongest edges or of the sizes, and the viewer if its page is not too large."""
    document = page(thing)
    parts = [f"<p>{_text(repr(thing).strip('<>'))}</p>", _table(thing)]
    if len(document) <= LARGEST_FRAME:
        parts.append(frame(document, HEIGHT))
    else:
        parts.append("<p>To look at it: <code>.view()</code></p>")
    return "".join(parts)


def frame(document: str, height: int) -> str:
    """Return a frame with a page that can run its scripts, but has no access to what is around it."""
    return (
        f'<iframe sandbox="allow-scripts allow-downloads" title="circuit viewer" '
        f'style="width: 100%; height: {height}px; border: 1px solid #ccc" srcdoc="{escape(document)}"></iframe>'
    )


def _table(thing: Plottable) -> str:
    if isinstance(thing, Evaluation):
        points = [point for point in thing.points if not point.signed] or thing.points
        sizes = [(f"{point.size:,}", f"{point.n_edges:,}", f"{point.faithfulness:.3f}") for point in points[:SIZES]]
        return _html_table(("Selected", "Edges", "Faithfulness"), sizes)
    if isinstance(thing, Circuit) and thing.scores is None:
        return _html_table(("Edge",), [(name,) for name in thing.edge_names[:ROWS]])
    level = "Edge" if isinstance(thing, Circuit | PruneScores) else thing.level.capitalize()
    rows = [
        (part.name if part.position is None else f"{part.name}, position {part.position}", f"{part.score:+.4g}")
        for part in thing.top(ROWS)
    ]
    return _html_table((level, with_unit("Score", thing.metadata)), rows)


def _html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _text(text: str) -> str:
    return escape(visible(text))
