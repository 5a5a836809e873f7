"""``eap combine``: combine files of scores into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eap_plugin.cli.destination import check_output, overwrite_option
from eap_plugin.cli.edges import counted, edges_table, scores_json
from eap_plugin.cli.output import json_option, print_json, stdout, top_option
from eap_plugin.cli.work import working

if TYPE_CHECKING:
    from eap_plugin.results.combination import How, Normalization


@click.command(short_help="Combine files of scores into one.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--how",
    type=click.Choice(("mean", "rank-mean", "max", "min")),
    default="mean",
    show_default=True,
    help="Mean score, mean of signed ranks, or the score of largest or smallest absolute value.",
)
@click.option(
    "--normalize",
    type=click.Choice(("none", "reader", "global")),
    default="none",
    show_default=True,
    help="Divide each file's scores by their largest absolute value first: of all, or of each reader.",
)
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), required=True, help="Save the scores to this safetensors file."
)
@overwrite_option
@top_option
@json_option
def combine(
    files: Sequence[Path],
    how: How,
    normalize: Normalization,
    output: Path,
    overwrite: bool,
    top: int,
    as_json: bool,
) -> None:
    """Combine the scores in FILES, which must be of the same graph, and list the strongest edges."""
    check_output(output, overwrite)
    with working(not as_json):
        from eap_plugin import api
        from eap_plugin.api import load_scores

        scores = api.combine([load_scores(file) for file in files], how, normalize)
        scores.save(output)
    if as_json:
        print_json({"metadata": scores.metadata, **scores_json(scores, top), "output": str(output)})
        return
    console = stdout()
    console.print(f"{scores.metadata['algorithm']}: {counted(scores)}")
    if top:
        console.print()
        console.print(edges_table(scores, top))
    console.print(f"\nSaved to {output}; to read it: eap show {output}", soft_wrap=True)
