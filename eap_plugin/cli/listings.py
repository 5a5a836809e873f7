"""``eap algorithms``, ``backends``, ``metrics`` and ``tasks``: what there is to choose from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click

from eap_plugin.cli.output import facts, json_option, print_json, stdout, table
from eap_plugin.host import get_host
from eap_plugin.host.options import OptionInfo, describe_options


@click.command()
@click.argument("name", required=False)
@json_option
def algorithms(name: str | None, as_json: bool) -> None:
    """List the algorithms, or document one with its options."""
    found = get_host().registry("algorithms")
    if name is not None:
        described = _algorithm(found[name], found.provider(name).name)
        print_json(described) if as_json else _print_algorithm(described)
        return
    listed = [_algorithm(found[n], found.provider(n).name) for n in found]
    if as_json:
        print_json(listed)
        return
    rows = [(a["name"], _passes(a), a["summary"], a["plugin"]) for a in listed]
    stdout().print(table(("Algorithm", "Passes", "What it computes", "Plugin"), rows))
    stdout().print("\nPasses through the model with default options. Options: eap algorithms NAME")


@click.command()
@json_option
def backends(as_json: bool) -> None:
    """List the model backends, and whether they can be used here."""
    found = get_host().registry("backends")
    listed = [
        {
            "name": n,
            "summary": found[n].summary,
            "missing": found[n].missing(),
            "plugin": found.provider(n).name,
        }
        for n in found
    ]
    if as_json:
        print_json(listed)
        return
    rows = [(b["name"], b["missing"] or "ready", b["summary"], b["plugin"]) for b in listed]
    stdout().print(table(("Backend", "State", "What it runs", "Plugin"), rows))


@click.command()
@json_option
def metrics(as_json: bool) -> None:
    """List the metrics that a task can be judged by."""
    found = get_host().registry("metrics")
    listed = [
        {
            "name": n,
            "unit": getattr(found[n], "unit", ""),
            "summary": found[n].summary,
            "plugin": found.provider(n).name,
        }
        for n in found
    ]
    if as_json:
        print_json(listed)
        return
    rows = [(m["name"], m["unit"], m["summary"], m["plugin"]) for m in listed]
    stdout().print(table(("Metric", "Unit", "What it measures", "Plugin"), rows))


@click.command()
@json_option
def tasks(as_json: bool) -> None:
    """List the tasks, and the formats of files that hold prompts of your own."""
    made, read = get_host().registry("tasks"), get_host().registry("formats")
    listed = [
        {
            "name": n,
            "summary": made[n].summary,
            "reference": getattr(made[n], "reference", ""),
            "plugin": made.provider(n).name,
        }
        for n in made
    ]
    files = [
        {
            "name": n,
            "suffixes": list(read[n].suffixes),
            "summary": read[n].summary,
            "plugin": read.provider(n).name,
        }
        for n in read
    ]
    if as_json:
        print_json({"tasks": listed, "formats": files})
        return
    console = stdout()
    rows = [(t["name"], t["summary"], t["reference"]) for t in listed]
    console.print(table(("Task", "What the model must do", "Reference"), rows))
    console.print("\nAny file of one of these formats is a task, too:\n")
    rows = [(f["name"], ", ".join(f["suffixes"]), f["summary"]) for f in files]
    console.print(table(("Format", "Files", "What they hold"), rows))


def _algorithm(algorithm: Any, plugin: str) -> dict[str, Any]:
    cost = algorithm.cost(algorithm.options())
    return {
        "name": algorithm.name,
        "summary": algorithm.summary,
        "reference": algorithm.reference,
        "cost": {"forwards": cost.forwards, "backwards": cost.backwards},
        "options": [asdict(o) for o in describe_options(algorithm.options)],
        "plugin": plugin,
    }


def _passes(algorithm: dict[str, Any]) -> str:
    cost = algorithm["cost"]
    return f"{cost['forwards']} forward, {cost['backwards']} back"


def _print_algorithm(algorithm: dict[str, Any]) -> None:
    console = stdout()
    console.print(f"{algorithm['name']}: {algorithm['summary']}\n")
    console.print(
        facts(
            {
                "reference": algorithm["reference"],
                "cost": f"{_passes(algorithm)} per batch, with default options",
                "plugin": algorithm["plugin"],
            }
        )
    )
    if not algorithm["options"]:
        console.print("\nIt has no options.")
        return
    console.print("\nOptions, each given as -O name=value:\n")
    options = [OptionInfo(**o) for o in algorithm["options"]]
    rows = [(o.name, o.type, str(o.default).lower(), _meaning(o)) for o in options]
    console.print(table(("Name", "Takes", "Default", "What it does"), rows))


def _meaning(option: OptionInfo) -> str:
    """What an option does, with its unit and range."""
    details = ", ".join(filter(None, (option.unit, option.range)))
    return f"{option.help} ({details})" if details else option.help
