"""Figures as files: PNG, SVG and PDF with the same bytes for the same figure, and circuits as DOT."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eap_plugin.display.plots.style import styled
from eap_plugin.errors import UsageError
from eap_plugin.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf", "dot")
"""The formats, which are the suffixes of files. DOT files, which Graphviz draws, hold circuits only."""

_NO_DATE: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None, "Creator": None},
}


def write_figure(figure: Figure, path: Path, style: str | Path) -> None:
    """Write a figure that was drawn in a style, completely or not at all, without the date.

    Raises:
        UsageError: if the file has another suffix than those of figures, or its folder does not exist.
        EapPluginError: if it cannot be written.
    """
    format = format_of_figure(path)
    if format == "dot":
        raise UsageError("a DOT file holds a circuit; write it with eap_plugin.export(circuit, path, format='dot')")
    buffer = io.BytesIO()
    with styled(style, "single"):
        figure.savefig(buffer, format=format, metadata=_NO_DATE[format])
    write_whole(path, buffer.getvalue())


def format_of_figure(path: Path) -> str:
    """Return the format of a file to write, by its suffix.

    Raises:
        UsageError: if it is none of ``FORMATS``.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise UsageError(f"a figure is a file that ends in .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}; got {path}")
    return suffix
