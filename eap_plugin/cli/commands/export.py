"""``eap export``: write scores or a circuit in another format."""

from __future__ import annotations

from pathlib import Path

import click

from eap_plugin.cli.destination import overwrite_option, require_new
from eap_plugin.cli.output import stderr, stdout
from eap_plugin.cli.work import working


@click.command(short_help="Write scores or a circuit in another format.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--format", required=True, help="Format to write (see eap score-formats).")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="File or folder to write.")
@overwrite_option
@click.option("--from", "source", help="Format of FILE, if it is not recognized.")
@click.option("--circuit", "as_circuit", is_flag=True, help="Write the circuit in FILE where it also has scores.")
@click.option("--d-model", type=click.IntRange(min=1), help="Width of the residual stream, if FILE does not say.")
@click.option("--n-prompts", type=click.IntRange(min=1), help="Number of prompts scored, if FILE does not say.")
def export(
    file: Path,
    format: str,
    output: Path,
    overwrite: bool,
    source: str | None,
    as_circuit: bool,
    d_model: int | None,
    n_prompts: int | None,
) -> None:
    """Write the scores or the circuit in FILE in another format.

    What the format cannot hold is printed first.
    """
    require_new(output, overwrite)
    with working(True):
        from eap_plugin.api.files import exportable, load

        contents = load(file, source)
        results = contents.circuit if as_circuit and contents.circuit is not None else contents.main
        chosen, ready = exportable(results, format, d_model=d_model, n_prompts=n_prompts)
        lost = chosen.losses(ready)
    for loss in lost:
        stderr().print(f"The format {format} does not keep {loss}.", soft_wrap=True)
    with working(True):
        chosen.write(ready, output)
    stdout().print(f"Saved to {output}", soft_wrap=True)
