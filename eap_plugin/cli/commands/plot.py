"""``eap plot``: draw a figure of scores, circuits or evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from eap_plugin.cli.destination import check_output, overwrite_option
from eap_plugin.cli.output import stdout
from eap_plugin.cli.work import working
from eap_plugin.display.plots.kinds import KINDS


@click.command(short_help="Draw a figure for a paper or a talk.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write: .png, .svg, .pdf or .dot."
)
@overwrite_option
@click.option("--kind", type=click.Choice(KINDS), help="Kind of figure; by default, what suits FILES.")
@click.option(
    "--style",
    default="paper",
    show_default=True,
    help="paper, talk or dark, the name of one of matplotlib's styles, or a style file.",
)
@click.option("--width", help="Width: single or double (columns of a page), or a number of inches.")
@click.option("--name", "names", multiple=True, help="Name of each file in the figure; repeatable.")
@click.option("--edges", type=click.IntRange(min=1), metavar="N", help="Edges to draw as a circuit from scores.")
@click.option("--signed/--absolute", default=None, help="Faithfulness of the selection by score, or absolute score.")
def plot(
    files: Sequence[Path],
    output: Path,
    overwrite: bool,
    kind: str | None,
    style: str,
    width: str | None,
    names: Sequence[str],
    edges: int | None,
    signed: bool | None,
) -> None:
    """Draw a figure of the scores, the circuit or the evaluations in FILES.

    \b
    faithfulness  faithfulness by size, of one or more evaluations
    scores        heat map of the scores of edges, writers by readers
    scatter       two files of scores against each other
    positions     sums of scores at each token position
    nodes         strength of heads and MLPs by layer
    circuit       the circuit itself, or the strongest edges of scores
    """
    check_output(output, overwrite)
    with working(True):
        from eap_plugin import api

        api.plot(
            *files,
            path=output,
            kind=kind,
            names=names or None,
            style=style,
            width=width,
            edges=edges,
            signed=signed,
        )
    stdout().print(f"Saved to {output}", soft_wrap=True)
