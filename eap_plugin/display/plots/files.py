"""Figures as files: PNG, SVG and PDF with the same bytes for the same figure, and circuits as DOT."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from eap_plugin.errors import UsageError
from eap_plugin.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = ("png", "svg", "pdf", "dot")
"""The formats, which are the suffixes of files. DOT files, which Graphviz draws, hold circuits only."""

_NO_DATE = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None, "Creator": None}}


def format_of_figure(path: Path) -> str:
    """Return the format of a file to write, by its suffix.

    Raises:
        UsageError: if it is none of ``FORMATS``.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise UsageError(f"a figure is a file that ends in .{', .'.join(FORMATS[:-1])} or .{FORMATS[-1]}; got {path}")
    return suffix


def save_figure(figure: Figure, path: Path, format: str) -> None:
    """Write a figure, completely or not at all, without the date.

    Raises:
        UsageError: if the folder does not exist.
        EapPluginError: if it cannot be written.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format=format, metadata=_NO_DATE[format])  # type: ignore[arg-type]
    write_whole(path, buffer.getvalue())
