"""``eap show``: show the contents of a file of scores or of a circuit, in any format."""

from __future__ import annotations

from pathlib import Path

import click

from eap_plugin.cli.circuits import circuit_json, circuit_table, selection_facts
from eap_plugin.cli.edges import counted, edges_table, established, scores_json
from eap_plugin.cli.output import facts, json_option, print_json, stdout, top_option
from eap_plugin.cli.provenance import provenance
from eap_plugin.cli.work import working


@click.command(short_help="Show the contents of a file of scores or of a circuit.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", help="Format of the file, if it is not recognized (see eap score-formats).")
@top_option
@json_option
def show(file: Path, format: str | None, top: int, as_json: bool) -> None:
    """Show how the scores or the circuit in FILE were made, and list the strongest edges.

    FILE can be in any format that eap score-formats lists, those of other tools included.
    """
    with working(not as_json):
        from eap_plugin.api.files import load

        contents = load(file, format)
    scores, circuit, about = contents.scores, contents.circuit, contents.main.metadata
    if as_json:
        shown = {} if circuit is None else circuit_json(circuit, top)
        if scores is not None:
            shown = {"circuit": shown} if shown else {}
            shown |= {"metadata": about, "graph": scores.graph.to_dict(), **scores_json(scores, top)}
        print_json(shown)
        return
    apart = ("selection", "found", "examples")
    held = provenance({name: value for name, value in about.items() if name not in apart})
    if scores is not None:
        held["scores"] = f"of {counted(scores)}"
        if sure := established(scores):
            held["sign established"] = sure
    console = stdout()
    console.print(facts({**held, **({} if circuit is None else selection_facts(circuit))}))
    tables = [edges_table(scores, top)] if scores is not None else []
    tables += [circuit_table(circuit, top)] if circuit is not None else []
    for table in tables if top else []:
        console.print()
        console.print(table)
