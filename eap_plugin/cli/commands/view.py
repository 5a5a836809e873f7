"""``eap view``: write an interactive page of a circuit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from eap_plugin.cli.destination import check_output, overwrite_option
from eap_plugin.cli.output import stdout
from eap_plugin.cli.work import working


@click.command(short_help="Look at a circuit in the browser.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="HTML file to write.")
@overwrite_option
@click.option("--title", help="Title; by default, the algorithm, model and task that the file records.")
@click.option(
    "--method",
    "methods",
    multiple=True,
    metavar="NAME",
    help="Selection method to offer (see eap selections); repeatable.",
)
@click.option("--format", help="Format of the files, if it is not recognized (see eap score-formats).")
def view(
    files: Sequence[Path],
    output: Path,
    overwrite: bool,
    title: str | None,
    methods: Sequence[str],
    format: str | None,
) -> None:
    """Write a page that shows the scores or the circuit in FILES, to open in a browser.

    Two files of the same model are shown as a difference. Evaluations among FILES are shown beside the number of edges.
    The page is a single file and works without a network.
    """
    check_output(output, overwrite)
    with working(True):
        from eap_plugin import api

        document = api.view(*files, path=output, title=title, methods=methods or None, format=format)
    stdout().print(f"Saved to {output} ({len(document) / 1e6:.1f} MB); open it in a browser", soft_wrap=True)
