"""``eap circuit``: select a circuit from scores, of a given size or of a wanted faithfulness."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eap_plugin.cli.circuits import circuit_json, circuit_table, empty_advice, selection_facts
from eap_plugin.cli.destination import check_output, overwrite_option
from eap_plugin.cli.find import FindOptions, find
from eap_plugin.cli.load import ModelChoice, recorded_model_options
from eap_plugin.cli.output import facts, json_option, print_json, stdout, top_option
from eap_plugin.cli.work import working
from eap_plugin.host.options import build_options, parse_assignments

if TYPE_CHECKING:
    from eap_plugin.circuits.circuit import Circuit


@click.command(short_help="Select a circuit from scores.")
@click.argument("file", metavar="SCORES", type=click.Path(path_type=Path))
@click.option("--edges", type=click.IntRange(min=0), metavar="N", help="Number of edges to select.")
@click.option("--nodes", type=click.IntRange(min=0), metavar="N", help="Number of nodes, from scores of nodes.")
@click.option("--neurons", type=click.IntRange(min=0), metavar="N", help="Number of neurons, from scores of neurons.")
@click.option("--fraction", type=float, metavar="P", help="Share of all to select, between 0 and 1; rounded down.")
@click.option("--threshold", type=float, metavar="T", help="Select what scores at least T, in absolute value.")
@click.option(
    "--faithfulness", type=float, metavar="F", help="Find the smallest circuit that is this faithful (at most 1)."
)
@click.option("--method", default="top", show_default=True, help="Selection method (see eap selections).")
@click.option("-O", "assignments", multiple=True, metavar="NAME=VALUE", help="Set an option of the method; repeatable.")
@click.option("--signed", is_flag=True, help="Select by score, not by absolute score.")
@click.option("--prune/--no-prune", default=True, help="Remove what is not connected; by default, it is removed.")
@click.option("--same-prompts", is_flag=True, help="Judge --faithfulness on the scored prompts, not on held-out ones.")
@click.option("--held-out", metavar="TASK", help="Task or file to judge on; by default, the next prompts of the task.")
@click.option("--task", "-t", help="Task that the scores are of; by default, the prompts that SCORES records.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", help="Number of prompt pairs to run at once.")
@recorded_model_options
@click.option("--anyway", is_flag=True, help="Go on if the model is not the one that SCORES records.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Save the circuit to this JSON file.")
@overwrite_option
@top_option
@json_option
def circuit(
    choice: Callable[[Any], ModelChoice],
    file: Path,
    faithfulness: float | None,
    method: str,
    assignments: Sequence[str],
    signed: bool,
    prune: bool,
    same_prompts: bool,
    held_out: str | None,
    task: str | None,
    batch_size: int | None,
    anyway: bool,
    output: Path | None,
    overwrite: bool,
    top: int,
    as_json: bool,
    **sizes: Any,
) -> None:
    """Select a circuit from the scores in the file SCORES, and list its strongest edges.

    Give its size in one way. Edges that are on no path from the embedding to the logits are removed after the
    selection, so the circuit may be smaller. With --faithfulness, the smallest size is searched for: the model runs
    on prompts of the task that were not scored. Model and task are those that SCORES records.
    """
    check_output(output, overwrite)
    finding = FindOptions(same_prompts, held_out, task, batch_size, anyway)
    finding.check(faithfulness is not None, sizes)
    with working(not as_json) as work:
        from eap_plugin import api
        from eap_plugin.api import load_scores

        options = parse_assignments(assignments)
        build_options(api.selections()[method].options, options, method)
        selection: dict[str, Any] = {"method": method, "signed": signed, "prune": prune, **options}
        scores = load_scores(file)
        if faithfulness is None:
            made = api.select(scores, **sizes, **selection)
        else:
            made = find(scores, faithfulness, choice(scores.metadata), finding, selection, work)
    if output is not None:
        made.save(output)
    if as_json:
        print_json({**circuit_json(made, top), "output": None if output is None else str(output)})
    else:
        _print(made, top, output)


def _print(made: Circuit, top: int, output: Path | None) -> None:
    console = stdout()
    console.print(facts(selection_facts(made)))
    if advice := empty_advice(made):
        console.print(f"\n{advice}", soft_wrap=True)
    elif top:
        console.print()
        console.print(circuit_table(made, top))
    saved = f"Saved to {output}" if output is not None else "Not saved; to keep the circuit, add -o circuit.json"
    console.print(f"\n{saved}", soft_wrap=True)
