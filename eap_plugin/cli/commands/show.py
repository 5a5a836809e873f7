"""``eap show``: show the contents of a file of scores or of a circuit."""

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
@top_option
@json_option
def show(file: Path, top: int, as_json: bool) -> None:
    """Show how the scores or the circuit in FILE were made, and list the strongest edges."""
    if file.suffix == ".json":
        _show_circuit(file, top, as_json)
    else:
        _show_scores(file, top, as_json)


def _show_scores(file: Path, top: int, as_json: bool) -> None:
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


def _show_circuit(file: Path, top: int, as_json: bool) -> None:
    with working(not as_json):
        from eap_plugin.circuits.circuit import Circuit

        circuit = Circuit.load(file)
    if as_json:
        print_json(circuit_json(circuit, top))
        return
    console = stdout()
    origin = {name: value for name, value in circuit.metadata.items() if name != "selection"}
    console.print(facts({**provenance(origin), **selection_facts(circuit)}))
    if top:
        console.print()
        console.print(circuit_table(circuit, top))
