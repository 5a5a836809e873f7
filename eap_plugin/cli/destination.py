"""The option ``--overwrite``: existing files are replaced only if it is given."""

from __future__ import annotations

from pathlib import Path

import click

from eap_plugin.cli.work import quiet
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.files import check_writable

overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")


def check_output(path: Path | None, overwrite: bool) -> None:
    """Check that a command may write its output file, before it computes anything.

    Raises:
        UsageError: if no file can be written there, or there is one and it may not be replaced; the message says what
            it contains.
    """
    if path is None:
        if overwrite:
            raise UsageError("--overwrite replaces the file of --output; add -o FILE, or leave it out")
        return
    check_writable(path)
    require_new(path, overwrite)


def require_new(path: Path, overwrite: bool) -> None:
    """Check that there is no file, and no folder with files in it, unless it may be replaced.

    Raises:
        UsageError: if there is; the message says what it contains.
    """
    if overwrite or not (any(path.iterdir()) if path.is_dir() else path.exists()):
        return
    raise UsageError(f"{path} exists ({_content(path)}); pass --overwrite to replace it")


def _content(path: Path) -> str:
    """Return what is in a file or folder, in a few words."""
    with quiet():
        from eap_plugin.api.files import load

        try:
            results = load(path).main
        except EapPluginError:
            return "a folder with files" if path.is_dir() else f"{path.stat().st_size:,} bytes"
    about = results.metadata
    kind = "scores" if hasattr(results, "matrix") else "a circuit"
    words = ((" of ", "algorithm"), (" on ", "model"), (", task ", "task"), (", made ", "created"))
    return kind + "".join(f"{word}{about[name]}" for word, name in words if about.get(name))
