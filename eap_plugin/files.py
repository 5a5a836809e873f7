"""Files: written completely or not at all, and read as JSON with one-line errors."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eap_plugin.errors import EapPluginError, UsageError, shown


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


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UsageError: if there is no such file, or it is a folder.
        EapPluginError: if it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; give the path of a file") from None
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error


def read_text(path: Path) -> str:
    """Return the content of a file of text, which must be UTF-8, with the errors of ``read_bytes``."""
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8") from error


def parse_json(text: str, where: str) -> Any:
    """Parse a JSON document.

    Raises:
        UsageError: if it is not JSON, or is nested too deeply.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise UsageError(f"{where}: the JSON is nested too deeply") from None
    except ValueError as error:
        raise UsageError(f"{where}: not JSON ({error})") from error


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become ``None``, unknown objects their text."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, type(None))) else str(value)


def finite(value: object, where: str) -> float:
    """Return a number from a file as a float.

    Raises:
        UsageError: if it is not a finite number; ``where`` begins the message.
    """
    try:
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise UsageError(f"{where}: expected a finite number, got {shown(value)}")
    return number
