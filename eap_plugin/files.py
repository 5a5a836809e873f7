"""Writing of files, completely or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from eap_plugin.errors import EapPluginError, UsageError


def check_writable(path: Path) -> None:
    """Check that a file can be written at ``path``, following symbolic links.

    Raises:
        UsageError: if its folder is missing or read-only, or there is something other than a regular file.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; add a file name")
    if target.exists() and not target.is_file():
        raise UsageError(f"cannot write {path}: it is a device or a pipe; give the path of a regular file")
    folder = target.parent if path.is_symlink() else path.parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: the folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission to write in {folder.absolute()}")


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file next to ``path``, then rename it; a symbolic link keeps its place.

    Raises:
        UsageError: if the folder does not exist, or there is something other than a regular file at ``path``.
        EapPluginError: if it cannot be written.
    """
    check_writable(path)
    path = Path(os.path.realpath(path))
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise EapPluginError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
