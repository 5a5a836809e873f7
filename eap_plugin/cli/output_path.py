"""Check of the path of a file that a command is to write."""

from __future__ import annotations

import os
from pathlib import Path

from eap_plugin.errors import UsageError


def check_writable(path: Path) -> None:
    """Check, before any work is done, that ``path`` can be written.

    Raises:
        UsageError: if it is a folder, or its folder is missing or read-only.
    """
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; add a file name")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission to write in {path.parent.resolve()}")
