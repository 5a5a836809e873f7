"""How results display themselves: in notebooks, as figures, and in the viewer."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Displayable:
    """Results that can be drawn and viewed.

    The functions that do so are in ``eap_plugin.display``, a layer above the results; they are looked up when they are
    called.
    """

    def plot(self, kind: str | None = None, *, path: str | Path | None = None, **options: Any) -> Figure:
        """Draw a figure with matplotlib.

        Args:
            kind: the kind of figure; see ``eap_plugin.plot``.
            path: if given, the file to write, which ends in ``.png``, ``.svg`` or ``.pdf``.
            **options: the other arguments of ``eap_plugin.plot``.

        Raises:
            UsageError: if the kind does not suit these results, or an argument is wrong.
            EapPluginError: if matplotlib is not installed, or the file cannot be written.
        """
        figure: Figure = import_module("eap_plugin.display.notebook").plot(self, kind=kind, path=path, **options)
        return figure

    def view(self, *others: Any, path: str | Path | None = None, title: str | None = None, height: int = 720) -> Any:
        """Return the interactive viewer, which a notebook displays.

        Args:
            *others: other results of the same model to show beside these: a second one, as a difference, and
                evaluations.
            path: if given, the HTML file to write, which a browser opens without a network.
            title: the title; by default what was scored.
            height: the height in the notebook, in pixels.

        Raises:
            UsageError: if these cannot be shown in one page.
            EapPluginError: if the file cannot be written.
        """
        return import_module("eap_plugin.display.notebook").view(self, *others, path=path, title=title, height=height)

    def _repr_html_(self) -> str:
        """Return a small table and the viewer, for notebooks."""
        html: str = import_module("eap_plugin.display.notebook").html_of(self)
        return html
