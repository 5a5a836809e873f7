"""``eap plugins``: list the installed plugins and their problems, or create a new plugin."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from eap_plugin.cli.output import facts, json_option, print_json, stdout, table
from eap_plugin.cli.work import quiet
from eap_plugin.host import Host, PluginInfo, get_host
from eap_plugin.host.kinds import KINDS
from eap_plugin.host.plugin import BUILT_IN
from eap_plugin.host.skeleton import SAMPLES, write_plugin


@click.group(short_help="List the plugins and their problems, or create one.", invoke_without_command=True)
@click.option("--all", "everything", is_flag=True, help="Also list the built-in plugins.")
@click.option("--check", "call", is_flag=True, help="Call every hook, and exit with code 1 if anything is wrong.")
@json_option
@click.pass_context
def plugins(ctx: click.Context, everything: bool, call: bool, as_json: bool) -> None:
    """List the installed plugins and, for those that failed, the reason."""
    if ctx.invoked_subcommand is not None:
        return
    host = get_host()
    with quiet():
        conflicts = _call_every_hook(host) if call else []
        found = host.plugins()
    shown = [p for p in found if everything or p.distribution != BUILT_IN or p.state != "ok"]
    warnings = [*host.warnings(), *conflicts]
    if as_json:
        print_json({"plugins": [asdict(p) for p in shown], "warnings": warnings})
    else:
        _print(shown, len(found) - len(shown), warnings)
    if call and warnings:
        ctx.exit(1)


@plugins.command(short_help="Create a working plugin to start from.")
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(tuple(SAMPLES)),
    default="algorithm",
    show_default=True,
    help="Kind of object that it registers.",
)
def new(name: str, kind: str) -> None:
    """Create a distribution called NAME in a new folder of that name: a working plugin, with tests that pass."""
    folder = write_plugin(name, kind, Path())
    click.echo(f"Wrote {folder}, a plugin with one {kind}. To install and test it:\n")
    click.echo(f"    cd {folder} && pip install -e '.[test]' && pytest")


def _call_every_hook(host: Host) -> list[str]:
    """Make every plugin register everything, and return one line per name that is registered twice."""
    return [line for kind in KINDS for line in host.registry(kind).conflicts]


def _print(shown: list[PluginInfo], hidden: int, warnings: list[str]) -> None:
    console = stdout()
    if shown:
        rows = [
            (p.name, p.version, p.state, ", ".join(hook.removeprefix("register_") for hook in p.hooks)) for p in shown
        ]
        console.print(table(("Plugin", "Version", "State", "Registers"), rows))
    if hidden:
        listed = "Besides these, there" if shown else "No plugin is installed; there"
        console.print(f"{listed} are {hidden} built in (--all lists them).")
    reasons = {p.name: p.reason for p in shown if p.state == "disabled"}
    if reasons:
        console.print()
        console.print(facts(reasons))
    if warnings:
        console.print()
        for line in warnings:
            console.print(line, soft_wrap=True)
