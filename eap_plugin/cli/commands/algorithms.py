"""``eap algorithms``: the algorithms, their cost and their options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from eap_plugin.cli.commands.listings import listed
from eap_plugin.cli.methods import options_json, print_method
from eap_plugin.cli.output import json_option, print_json, stdout, table
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
        passes = f"{_passes(found[0])} on each batch, with default options, {MODEL}"
        print_method(found[0], {"passes": passes})


def _describe(algorithm: Any) -> dict[str, Any]:
    cost = algorithm.cost(algorithm.options(), Graph(*SHAPE))
    return {
        "summary": algorithm.summary,
        "reference": algorithm.reference,
        "cost": {"forwards": cost.forwards, "backwards": cost.backwards},
        "options": options_json(algorithm.options),
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
