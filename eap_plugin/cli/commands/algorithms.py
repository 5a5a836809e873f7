"""``eap algorithms``: the algorithms, their cost and their options."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from eap_plugin.cli.commands.listings import listed
from eap_plugin.cli.output import facts, json_option, print_json, stdout, table
from eap_plugin.host.options import describe_options
from eap_plugin.model.graph import Graph

if TYPE_CHECKING:
    from rich.table import Table

MODEL, SHAPE = "for 12 layers of 12 heads", (12, 12, 12)
"""The model that costs are shown for, GPT-2 small's shape."""

BUILT_IN = "eap-plugin"


@click.command(short_help="List the algorithms, or describe one.")
@click.argument("name", required=False)
@json_option
def algorithms(name: str | None, as_json: bool) -> None:
    """List the algorithms, or describe the algorithm NAME and its options."""
    found = listed("algorithms", _describe, name)
    if as_json:
        print_json(found if name is None else found[0])
    elif name is None:
        stdout().print(_table(found))
        stdout().print(f"\nPasses: on each batch, with default options, {MODEL}.\nTo see options: eap algorithms NAME")
    else:
        _document(found[0])


def _describe(algorithm: Any) -> dict[str, Any]:
    cost = algorithm.cost(algorithm.options(), Graph(*SHAPE))
    return {
        "summary": algorithm.summary,
        "reference": algorithm.reference,
        "cost": {"forwards": cost.forwards, "backwards": cost.backwards},
        "options": [asdict(option) for option in describe_options(algorithm.options)],
    }


def _table(found: list[dict[str, Any]]) -> Table:
    """Build a table with a row for each algorithm; plugins are shown only if some are not built in."""
    others = {a["plugin"] for a in found} != {BUILT_IN}
    columns = ["Algorithm", "Forward", "Back", "What it computes", *["Plugin"] * others]
    rows = [
        [a["name"], f"{a['cost']['forwards']:,}", f"{a['cost']['backwards']:,}", a["summary"], *[a["plugin"]] * others]
        for a in found
    ]
    return table(columns, rows, right=("Forward", "Back"))


def _passes(algorithm: dict[str, Any]) -> str:
    cost = algorithm["cost"]
    return f"{cost['forwards']:,} forward, {cost['backwards']:,} back"


def _document(algorithm: dict[str, Any]) -> None:
    console = stdout()
    console.print(f"{algorithm['name']}: {algorithm['summary']}\n")
    passes = f"{_passes(algorithm)} on each batch, with default options, {MODEL}"
    console.print(facts({"reference": algorithm["reference"], "passes": passes, "plugin": algorithm["plugin"]}))
    if not algorithm["options"]:
        console.print("\nIt has no options.")
        return
    console.print("\nOptions, each given as -O name=value:\n")
    rows = [(o["name"], o["type"], str(o["default"]).lower(), _meaning(o)) for o in algorithm["options"]]
    console.print(table(("Name", "Takes", "Default", "What it does"), rows))


def _meaning(option: dict[str, Any]) -> str:
    """Describe what an option does, with its unit and range."""
    details = ", ".join(filter(None, (option["unit"], option["range"])))
    return f"{option['help']} ({details})" if details else str(option["help"])
