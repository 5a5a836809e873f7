"""The description of one algorithm or selection method and its options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from eap_plugin.cli.output import facts, stdout, table
from eap_plugin.host.options import describe_options


def options_json(options: type) -> list[dict[str, Any]]:
    """Return the options that a dataclass declares, as plain values."""
    return [asdict(option) for option in describe_options(options)]


def print_method(method: Mapping[str, Any], about: Mapping[str, str]) -> None:
    """Print a method, as ``listed`` describes it: its name, facts about it, and its options."""
    console = stdout()
    console.print(f"{method['name']}: {method['summary']}\n")
    console.print(facts({"reference": method["reference"], **about, "plugin": method["plugin"]}))
    if not method["options"]:
        console.print("\nIt has no options.")
        return
    console.print("\nOptions, each given as -O name=value:\n")
    rows = [(o["name"], o["type"], str(o["default"]).lower(), _meaning(o)) for o in method["options"]]
    console.print(table(("Name", "Takes", "Default", "What it does"), rows))


def _meaning(option: Mapping[str, Any]) -> str:
    """Describe what an option does, with its unit and range."""
    details = ", ".join(filter(None, (option["unit"], option["range"])))
    return f"{option['help']} ({details})" if details else str(option["help"])
