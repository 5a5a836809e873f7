"""``eap selections``: the methods that select circuits, and their options."""

from __future__ import annotations

from typing import Any

import click

from eap_plugin.cli.commands.listings import listed
from eap_plugin.cli.methods import options_json, print_method
from eap_plugin.cli.output import json_option, print_json, stdout, table


@click.command(short_help="List the methods that select circuits, or describe one.")
@click.argument("name", required=False)
@json_option
def selections(name: str | None, as_json: bool) -> None:
    """List the methods that select circuits from scores, or describe the method NAME and its options."""
    found = listed("selections", _describe, name)
    if as_json:
        print_json(found if name is None else found[0])
    elif name is None:
        rows = [(s["name"], _levels(s), s["summary"], s["plugin"]) for s in found]
        stdout().print(table(("Method", "Selects", "Which ones", "Plugin"), rows))
        stdout().print("\nTo see options: eap selections NAME")
    else:
        print_method(found[0], {"selects": _levels(found[0])})


def _describe(method: Any) -> dict[str, Any]:
    return {
        "summary": method.summary,
        "reference": method.reference,
        "levels": list(method.levels),
        "nested": method.nested,
        "options": options_json(method.options),
    }


def _levels(method: dict[str, Any]) -> str:
    return ", ".join(f"{level}s" for level in method["levels"])
