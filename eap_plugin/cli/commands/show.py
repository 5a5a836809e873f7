"""``eap show``: show the contents of a file of scores or a circuit, in any format."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eap_plugin.cli.edges import circuit_json, circuit_table, counted, edges_table, scores_json
from eap_plugin.cli.output import facts, json_option, print_json, stdout, top_option
from eap_plugin.cli.provenance import provenance
from eap_plugin.cli.work import working


@click.command(short_help="Show the contents of a file of scores or a circuit.")
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
        scores, circuit = contents.scores, contents.circuit
        about, graph = contents.main.metadata, contents.main.graph
    if as_json:
        document: dict[str, Any] = {"metadata": about, "graph": graph.to_dict()}
        document |= {} if scores is None else scores_json(scores, top)
        document |= {} if circuit is None else {"circuit": circuit_json(circuit, top)}
        print_json(document)
        return
    console = stdout()
    held = {} if scores is None else {"scores": f"of {counted(scores)}"}
    if circuit is not None:
        held["circuit"] = f"{circuit.n_edges:,} of {graph.n_edges:,} edges, {len(circuit.nodes):,} nodes"
    console.print(facts({**provenance(about), **held}))
    if top and scores is not None:
        console.print()
        console.print(edges_table(scores, top))
    if top and circuit is not None:
        console.print()
        console.print(circuit_table(circuit, top))
