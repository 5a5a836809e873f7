"""The listing commands: ``eap backends``, ``metrics``, ``tasks``, ``score-formats``; ``eap algorithms`` shares code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from eap_plugin.cli.output import json_option, print_json, stdout, table
from eap_plugin.cli.work import quiet
from eap_plugin.errors import blaming
from eap_plugin.host import get_host
from eap_plugin.host.plugin import one_line
from eap_plugin.host.registry import Registry
from eap_plugin.results.visible_text import visible

Describe = Callable[[Any], dict[str, Any]]


def listed(kind: str, describe: Describe, only: str | None = None) -> list[dict[str, Any]]:
    """List what plugins register as ``kind``, each entry described by ``describe`` and with its plugin's name.

    Whatever cannot be listed is reported on stderr: names registered twice, plugins that failed, entries that cannot
    be described.
    """
    with quiet():
        found = get_host().registry(kind)
        if only is not None:
            return [_entry(found, only, describe)]
        entries, troubles = [], found.troubles
        for name in found:
            try:
                entries.append(_entry(found, name, describe))
            except Exception as error:  # noqa: PERF203 - one failure must not hide the rest
                troubles.append(f"{found.origin(name)} cannot be listed: {one_line(error)}")
    for line in troubles:
        click.echo(visible(line), err=True)
    return entries


def _entry(found: Registry[Any], name: str, describe: Describe) -> dict[str, Any]:
    with blaming(found.origin(name)):
        plugin = found.provider(name)
        return {"name": name, **describe(found[name]), "plugin": plugin.distribution or plugin.name}


@click.command(short_help="List the model backends.")
@json_option
def backends(as_json: bool) -> None:
    """List the model backends, and whether they can be used here."""
    found = listed("backends", _backend)
    if as_json:
        print_json(found)
        return
    rows = [(b["name"], b["missing"] or "ready", b["summary"], b["plugin"]) for b in found]
    stdout().print(table(("Backend", "State", "What it runs", "Plugin"), rows))


@click.command(short_help="List the metrics.")
@json_option
def metrics(as_json: bool) -> None:
    """List the metrics that measure how well a model does a task."""
    found = listed("metrics", lambda m: {"unit": getattr(m, "unit", ""), "summary": m.summary})
    if as_json:
        print_json(found)
        return
    rows = [(m["name"], m["unit"], m["summary"], m["plugin"]) for m in found]
    stdout().print(table(("Metric", "Unit", "What it measures", "Plugin"), rows))


@click.command(short_help="List the tasks and the formats of task files.")
@json_option
def tasks(as_json: bool) -> None:
    """List the tasks, and the file formats for prompts of your own."""
    generated = listed("tasks", lambda t: {"summary": t.summary, "reference": getattr(t, "reference", "")})
    files = listed("formats", lambda f: {"suffixes": list(f.suffixes), "summary": f.summary})
    if as_json:
        print_json({"tasks": generated, "formats": files})
        return
    console = stdout()
    rows = [(t["name"], t["summary"], t["reference"], t["plugin"]) for t in generated]
    console.print(table(("Task", "What the model must do", "Reference", "Plugin"), rows))
    console.print("\nA file in one of these formats is a task, too:\n")
    rows = [(f["name"], ", ".join(f["suffixes"]), f["summary"], f["plugin"]) for f in files]
    console.print(table(("Format", "Files", "What they hold", "Plugin"), rows))


@click.command("score-formats", short_help="List the formats of scores and circuits.")
@json_option
def score_formats(as_json: bool) -> None:
    """List the formats of files with scores and circuits, which eap show reads and eap export writes."""
    found = listed(
        "score_formats", lambda f: {"suffixes": list(f.suffixes), "holds": list(f.holds), "summary": f.summary}
    )
    if as_json:
        print_json(found)
        return
    rows = [(f["name"], ", ".join(f["suffixes"]) or "a folder", ", ".join(f["holds"]), f["summary"]) for f in found]
    stdout().print(table(("Format", "Files", "Holds", "What it is"), rows))


def _score_format(score_format: Any) -> dict[str, Any]:
    return {
        "suffixes": list(score_format.suffixes),
        "holds": list(score_format.holds),
        "summary": score_format.summary,
    }


def _backend(backend: Any) -> dict[str, Any]:
    """Describe a backend; plugins' backends need not have ``missing``, which says why one cannot be used here."""
    return {"missing": backend.missing() if hasattr(backend, "missing") else None, "summary": backend.summary}
