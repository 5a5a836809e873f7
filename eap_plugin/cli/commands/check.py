"""``eap check``: check that edge scores are meaningful on a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from eap_plugin.cli.load import ModelChoice, model_options
from eap_plugin.cli.output import json_option, print_json, stdout, table
from eap_plugin.cli.work import working

if TYPE_CHECKING:
    from rich.table import Table

    from eap_plugin.runner.self_check.self_check import CheckReport


@click.command(short_help="Check that a model's edges reproduce what it computes.")
@model_options
@click.option("--task", "-t", "task_name", help="Check on this task's prompts (name or file) instead of random tokens.")
@json_option
def check(choice: ModelChoice, task_name: str | None, as_json: bool) -> None:
    """Check that the edges of MODEL reproduce what the model computes.

    At every reader, the outputs of the writers must sum to the residual stream, the reader's formula
    must give the model's own input, and the whole gradient must come from readers of the graph. A
    TransformerBridge must give the logits of the Hugging Face model inside it. The exit code is 1 if
    any difference is larger than rounding error.
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
                "unchecked": report.unchecked,
                "prefix_fault": report.prefix_fault,
                "rows": [vars(row) for row in report.rows],
            }
        )
    else:
        console = stdout()
        console.print(_residues(report))
        console.print(
            "\nLargest relative difference between what the edges give and what the model\n"
            f"computes. Differences up to {report.tolerance:.2g} count as rounding error."
        )
        if report.unchecked:
            console.print(f"\nNot checked: {report.unchecked}.")
        if report.prefix_fault:
            console.print(
                f"\nPrefixes are not shared between runs on this model: {report.prefix_fault}.", soft_wrap=True
            )
        if failing:
            cause = f": {failing[0].cause}" if failing[0].cause else ""
            console.print(
                f"\nFAILED: {report.model} differs at {len(failing)} of {len(report.rows)} places, first at "
                f"layer {failing[0].layer}, {failing[0].what}{cause}. Edge scores would be meaningless."
            )
        else:
            console.print(f"\nOK: edge scores are meaningful on {report.model}.")
    if failing:
        click.get_current_context().exit(1)


_KINDS = {"writers": "writers", "reader": "readers", "heads": "heads", "gradient": "gradients", "logits": "logits"}
"""The column of a comparison, by the first word of what it compares."""


def _residues(report: CheckReport) -> Table:
    """Build a table with a row per layer and a column per kind of comparison; "!" marks a residue that is too large."""
    cells: dict[tuple[int, str], str] = {}
    for row in sorted(report.rows, key=lambda row: row.severity):
        mark = "" if row.residue <= report.tolerance else "!"
        cells[row.layer, _KINDS[row.what.split()[0]]] = f"{mark}{row.residue:.1e}"  # sorted, so the worst one stays
    columns = [kind for kind in _KINDS.values() if any(column == kind for _, column in cells)]
    layers = sorted({layer for layer, _ in cells})
    rows = [[str(layer), *(cells.get((layer, column), "") for column in columns)] for layer in layers]
    headers = ["layer", *columns]
    return table(headers, rows, right=headers)
