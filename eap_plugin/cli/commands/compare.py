"""``eap compare``: compare files of scores, or of circuits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from eap_plugin.cli.output import json_option, print_json, stdout
from eap_plugin.cli.work import working
from eap_plugin.errors import UsageError


@click.command(short_help="Compare files of scores, or of circuits.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--truth", type=click.Path(path_type=Path), help="Known circuit, or a text file with an edge a line.")
@click.option("-k", "ks", type=click.IntRange(min=1), multiple=True, metavar="K", help="Compare the top K; repeatable.")
@click.option("--seed", type=int, help="Seed of the random halves of a single file.  [default: 0]")
@json_option
def compare(files: Sequence[Path], truth: Path | None, ks: Sequence[int], seed: int | None, as_json: bool) -> None:
    """Compare the scores, or the circuits, in FILES.

    Of two files, it shows rank correlations, the overlap of the strongest edges and what it would be by chance, and the
    edges that differ most; of more files, each pair in a table. A single file of scores that was made with --groups is
    compared with itself, by random halves of its prompts. With --truth, each file of scores is compared with a known
    circuit.
    """
    if seed is not None and (truth is not None or len(files) > 1):
        raise UsageError("--seed is for the random halves of a single file; leave it out")
    with working(not as_json):
        from eap_plugin import api

        given = ks or None
        if truth is not None:
            found = [api.compare_with_truth(file, truth, k=given) for file in files]
        else:
            compared = api.compare(*files, k=given, seed=seed or 0)
    if truth is not None:
        documents, tables = [one.to_dict() for one in found], [one.table() for one in found]
        shown = documents[0] if len(documents) == 1 else documents
        text = "\n\n\n".join(tables)
    else:
        shown, text = compared.to_dict(), compared.table()
    if as_json:
        print_json(shown)
    else:
        stdout().print(text, soft_wrap=True)
