"""``eap circuit``: select a circuit from scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from eap_plugin.cli.circuits import circuit_json, circuit_table, empty_advice, selection_facts
from eap_plugin.cli.output import facts, json_option, print_json, stdout, top_option
from eap_plugin.cli.work import working
from eap_plugin.files import check_writable
from eap_plugin.host.options import build_options, parse_assignments


@click.command(short_help="Select a circuit from scores.")
@click.argument("scores", type=click.Path(path_type=Path))
@click.option("--edges", type=click.IntRange(min=0), metavar="N", help="Number of edges to select.")
@click.option("--nodes", type=click.IntRange(min=0), metavar="N", help="Number of nodes, from scores of nodes.")
@click.option("--neurons", type=click.IntRange(min=0), metavar="N", help="Number of neurons, from scores of neurons.")
@click.option("--fraction", type=float, metavar="P", help="Share of all to select, between 0 and 1; rounded down.")
@click.option("--threshold", type=float, metavar="T", help="Select what scores at least T, in absolute value.")
@click.option("--method", default="top", show_default=True, help="Selection method (see eap selections).")
@click.option("-O", "assignments", multiple=True, metavar="NAME=VALUE", help="Set an option of the method; repeatable.")
@click.option("--signed", is_flag=True, help="Select by score, not by absolute score.")
@click.option("--prune/--no-prune", default=True, help="Remove what is not connected; by default, it is removed.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Save the circuit to this JSON file.")
@top_option
@json_option
def circuit(
    scores: Path,
    edges: int | None,
    nodes: int | None,
    neurons: int | None,
    fraction: float | None,
    threshold: float | None,
    method: str,
    assignments: Sequence[str],
    signed: bool,
    prune: bool,
    output: Path | None,
    top: int,
    as_json: bool,
) -> None:
    """Select a circuit from the scores in the file SCORES, and list its strongest edges.

    Give its size in one way. Edges that are on no path from the embedding to the logits are removed after the
    selection, so the circuit may be smaller.
    """
    if output is not None:
        check_writable(output)
    with working(not as_json):
        from eap_plugin import api
        from eap_plugin.results.loading import load_scores

        options = parse_assignments(assignments)
        build_options(api.selections()[method].options, options, method)
        found = api.select(
            load_scores(scores),
            edges=edges,
            nodes=nodes,
            neurons=neurons,
            fraction=fraction,
            threshold=threshold,
            method=method,
            signed=signed,
            prune=prune,
            **options,
        )
    if output is not None:
        found.save(output)
    if as_json:
        print_json({**circuit_json(found, top), "output": None if output is None else str(output)})
        return
    console = stdout()
    console.print(facts(selection_facts(found)))
    if advice := empty_advice(found):
        console.print(f"\n{advice}", soft_wrap=True)
    elif top:
        console.print()
        console.print(circuit_table(found, top))
    saved = f"Saved to {output}" if output is not None else "Not saved; to keep the circuit, add -o circuit.json"
    console.print(f"\n{saved}", soft_wrap=True)
