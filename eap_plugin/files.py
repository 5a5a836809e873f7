"""Writing of files, completely or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from eap_plugin.errors import EapPluginError, UsageError


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to a temporary file next to ``path``, then rename it.

    Raises:
        UsageError: if the folder does not exist.
        EapPluginError: if it cannot be written.
    """
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
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
