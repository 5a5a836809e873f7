"""``eap check``: do edge scores mean anything on this model?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from eap_plugin.cli.load import ModelChoice, model_options
from eap_plugin.cli.output import json_option, print_json, stdout, table
from eap_plugin.cli.work import working

if TYPE_CHECKING:
    from rich.table import Table

    from eap_plugin.runner.self_check.self_check import CheckReport


@click.command(short_help="Check that a model's edges are what it computes.")
@model_options
@click.option("--task", "-t", "task_name", help="Check on this task's prompts (name or file) and not on random tokens.")
@json_option
def check(choice: ModelChoice, task_name: str | None, as_json: bool) -> None:
    """Check that the edges of MODEL are what the model really computes.

    At every reader, what the writers are said to add must sum to the residual stream, and the
    reader's formula must give the model's own input. Exits with 1 where they differ by more than
    rounding.
    """
    with working(not as_json) as work:
        work.step("Loading the model")
        from eap_plugin import api

        loaded = choice.load()
        task = None if task_name is None else api.load_task(task_name, loaded)
        work.step("Checking")
        report = api.check(loaded, task, timeout=choice.timeout, status=work.tell)
    failing = report.failing
    if as_json:
        print_json(
            {
                "model": report.model,
                "ok": report.ok,
                "tolerance": report.tolerance,
                "rows": [vars(row) for row in report.rows],
            }
        )
    else:
        console = stdout()
        console.print(_residues(report))
        console.print(
            "\nLargest difference between what edges say and what the model computes, relative\n"
            f"to the size of both. Allowed is {report.tolerance:.2g}, which rounding explains."
        )
        if failing:
            console.print(
                f"\nFAILED: {report.model} differs at {len(failing)} of {len(report.rows)} places, first at "
                f"layer {failing[0].layer}, {failing[0].what}. Edge scores would not mean what they say."
            )
        else:
            console.print(f"\nOK: edge scores mean what they say on {report.model}.")
    if failing:
        click.get_current_context().exit(1)


def _residues(report: CheckReport) -> Table:
    """A row per layer, a column per comparison; an exclamation mark where the residue is too large."""
    columns = list(dict.fromkeys(row.what for row in report.rows))
    cells = {
        (row.layer, row.what): f"{'' if row.residue <= report.tolerance else '!'}{row.residue:.1e}"
        for row in report.rows
    }
    layers = sorted({row.layer for row in report.rows})
    rows = [[str(layer), *(cells.get((layer, column), "") for column in columns)] for layer in layers]
    headers = ["layer", *(column.replace("writers reaching ", "").replace("attention", "attn") for column in columns)]
    return table(headers, rows, right=headers)
