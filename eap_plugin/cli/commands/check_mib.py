"""``eap check-mib``: check a folder before it is submitted to MIB."""

from __future__ import annotations

from pathlib import Path

import click

from eap_plugin.cli.output import json_option, print_json, stdout
from eap_plugin.cli.work import working


@click.command("check-mib", short_help="Check a folder before it is submitted to MIB.")
@click.argument("folder", type=click.Path(path_type=Path))
@json_option
def check_mib(folder: Path, as_json: bool) -> None:
    """Check that FOLDER is a submission that MIB's circuit track takes, and print one line for each fault.

    FOLDER has one folder for each task and model, such as ioi_gpt2; eap export writes these with --format mib.

    Exit code 1 if there is a fault.
    """
    with working(not as_json):
        from eap_plugin.score_format.mib_check import check_submission

        faults = check_submission(folder)
    if as_json:
        print_json({"ok": not faults, "faults": faults})
    else:
        for fault in faults:
            stdout().print(fault, soft_wrap=True)
        if not faults:
            stdout().print(f"OK: {folder} is a submission that MIB takes.", soft_wrap=True)
    if faults:
        click.get_current_context().exit(1)
