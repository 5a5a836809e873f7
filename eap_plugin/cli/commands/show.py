"""``eap show``: show the contents of a score file."""

from __future__ import annotations

from pathlib import Path

import click

from eap_plugin.cli.edges import counted, edges_table, established, scores_json
from eap_plugin.cli.output import facts, json_option, print_json, stdout, top_option
from eap_plugin.cli.provenance import provenance
from eap_plugin.cli.work import working


@click.command(short_help="Show the contents of a score file.")
@click.argument("file", type=click.Path(path_type=Path))
@top_option
@json_option
def show(file: Path, top: int, as_json: bool) -> None:
    """Show how the scores in FILE were made, and list the strongest edges."""
    with working(not as_json):
        from eap_plugin.results.loading import load_scores

        scores = load_scores(file)
    if as_json:
        print_json(
            {
                "metadata": scores.metadata,
                "graph": scores.graph.to_dict(),
                **scores_json(scores, top),
            }
        )
        return
    console = stdout()
    about = {**provenance(scores.metadata), "scores": f"of {counted(scores)}"}
    if sure := established(scores):
        about["sign established"] = sure
    console.print(facts(about))
    if top:
        console.print()
        console.print(edges_table(scores, top))
