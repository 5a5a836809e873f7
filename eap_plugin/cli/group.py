"""The command ``eap``: its subcommands, and how their errors are reported."""

from __future__ import annotations

from typing import Any

import click

from eap_plugin import __version__
from eap_plugin.cli.commands.algorithms import algorithms
from eap_plugin.cli.commands.check import check
from eap_plugin.cli.commands.check_mib import check_mib
from eap_plugin.cli.commands.circuit import circuit
from eap_plugin.cli.commands.combine import combine
from eap_plugin.cli.commands.compare import compare
from eap_plugin.cli.commands.demo import demo
from eap_plugin.cli.commands.evaluate import evaluate
from eap_plugin.cli.commands.export import export
from eap_plugin.cli.commands.listings import backends, metrics, score_formats, tasks
from eap_plugin.cli.commands.plot import plot
from eap_plugin.cli.commands.plugins import plugins
from eap_plugin.cli.commands.run import run
from eap_plugin.cli.commands.selections import selections
from eap_plugin.cli.commands.show import show
from eap_plugin.cli.commands.view import view
from eap_plugin.cli.output import accept_any_text
from eap_plugin.cli.ranks import is_first
from eap_plugin.cli.trouble import INTERRUPTED, debugging, explain
from eap_plugin.host.interrupts import noticing_interrupts


class Group(click.Group):
    """A group of commands, listed in the order they are added, that reports an error as one line and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands in the order ``--help`` lists them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; with ``EAP_DEBUG=1``, errors keep their traceback."""
        accept_any_text()
        with noticing_interrupts() as interrupts:
            try:
                return super().invoke(ctx)
            except (Exception, KeyboardInterrupt) as error:
                explained = explain(KeyboardInterrupt() if interrupts.seen else error)
                if explained is None:
                    raise
                message, exit_code = explained
                if debugging() and exit_code != INTERRUPTED:
                    raise
                if is_first():
                    click.echo(message, err=True)
                ctx.exit(exit_code)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="eap")
def eap() -> None:
    """Find circuits in language models by scoring their edges.

    Start with "eap demo": it needs no network and takes a few seconds.

    Exit codes: 0 success, 1 failure, 2 usage error, 130 interrupted.
    """


for command in (
    demo,
    run,
    show,
    view,
    plot,
    export,
    circuit,
    evaluate,
    compare,
    combine,
    check,
    check_mib,
    algorithms,
    selections,
    backends,
    metrics,
    tasks,
    score_formats,
    plugins,
):
    eap.add_command(command)
