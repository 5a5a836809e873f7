"""Output shared by all commands: tables for people, one JSON document for programs, numbers in one style."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from eap_plugin.files import plain
from eap_plugin.results.visible_text import visible

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")

top_option = click.option(
    "--top",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="K",
    help="Number of the strongest edges to list.",
)


class _Console(Console):
    """A console on which text from files cannot change the terminal: control characters in it are shown as codes."""

    def print(self, *objects: Any, **how: Any) -> None:
        """Print as ``Console.print`` does, but without blanks at the ends of lines if it is not to a terminal."""
        plain = [visible(item) if isinstance(item, str) else item for item in objects]
        if self.is_terminal:
            super().print(*plain, **how)
            return
        with self.capture() as captured:
            super().print(*plain, **how)
        self.file.write("\n".join(line.rstrip(" ") for line in captured.get().split("\n")))


def stdout() -> Console:
    """Return the console for results; it writes plain text if stdout is not a terminal."""
    return _Console(highlight=False, markup=False, emoji=False)


def stderr() -> Console:
    """Return the console for everything that is not a result."""
    return _Console(stderr=True, highlight=False, markup=False, emoji=False)


def accept_any_text() -> None:
    """Write characters that the output's encoding lacks as codes, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[str] = ()) -> Table:
    """Build a table without lines.

    Args:
        columns: the headers; the first column is never wrapped.
        rows: the cells.
        right: headers of the right-aligned columns.
    """
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if column in right else "left", no_wrap=index == 0)
    for row in rows:
        made.add_row(*map(visible, row))
    return made


def facts(pairs: Mapping[str, str]) -> Table:
    """Build a table of names and their values, in two columns."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    made.add_column(style="bold", no_wrap=True)
    made.add_column()
    for name, value in pairs.items():
        made.add_row(visible(name), visible(value))
    return made


def print_json(document: Any) -> None:
    """Print one JSON document on stdout; numbers that are not finite become null."""
    click.echo(json.dumps(plain(document), indent=2, allow_nan=False))


def number(value: float) -> str:
    """Format a number with its sign and four significant digits, such as ``+1.230`` or ``-4.560e-07``."""
    return f"{value:+#.4g}".rstrip(".")


def numbers(values: Sequence[float]) -> list[str]:
    """Format the numbers of one column as ``number`` does, to the same width and with decimal points aligned.

    If any of them needs an exponent, all have one.
    """
    texts = [number(value) for value in values]
    if any("e" in text for text in texts):
        texts = [f"{value:+.3e}" for value in values]
    parts = [text.partition(".") for text in texts]
    before = max((len(whole) for whole, _, _ in parts), default=0)
    after = max((len(point + decimals) for _, point, decimals in parts), default=0)
    return [whole.rjust(before) + (point + decimals).ljust(after) for whole, point, decimals in parts]


def percent(share: float) -> str:
    """Format a share as a percentage with one decimal, never as negative zero."""
    return f"{round(100 * share, 1) + 0.0:.1f}%"
