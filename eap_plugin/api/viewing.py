"""Show circuits in the interactive viewer, from objects or from files of any known format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eap_plugin.api.files import load
from eap_plugin.api.registries import selections
from eap_plugin.circuits.evaluation.result import Evaluation, is_evaluation
from eap_plugin.display.viewer.page import METHODS, Viewable, page
from eap_plugin.files import write_whole


def view(
    *items: Viewable | str | Path,
    path: str | Path | None = None,
    title: str | None = None,
    methods: Sequence[str] | None = None,
    format: str | None = None,
) -> str:
    """Make an interactive page of a circuit, or of two as a difference, which needs no network and no other file.

    Args:
        *items: scores or circuits, at most two, of the same graph, and evaluations of them; objects, or files of any
            known format.
        path: if given, the HTML file to write.
        title: the title; by default the algorithm, model and task that the provenance names.
        methods: the names of the selection methods that can be chosen in the page (see ``selections()``); by default
            those that are built in and fast.
        format: the format of the files, if it is not recognized (see ``score_formats()``).

    Returns:
        The HTML document.

    Raises:
        UsageError: if there is nothing to show, there are more than two, they have different graphs, or a file or name
            is wrong.
        EapPluginError: if a file cannot be read or written.
    """
    shown = [read_viewable(Path(item), format) if isinstance(item, str | Path) else item for item in items]
    names = [Path(item).name if isinstance(item, str | Path) else "" for item in items]
    chosen = METHODS if methods is None else [selections()[name] for name in methods]
    document = page(*shown, title=title, names=names, methods=chosen)
    if path is not None:
        write_whole(Path(path), document.encode())
    return document


def read_viewable(path: Path, format: str | None = None) -> Viewable:
    """Return what a file has: its scores, or the circuit of a file without scores, or an evaluation."""
    return Evaluation.load(path) if format is None and is_evaluation(path) else load(path, format).main
