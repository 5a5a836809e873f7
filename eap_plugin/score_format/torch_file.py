"""Files of ``torch.save``, read without running code that may be in them, and without memory that they do not fill."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eap_plugin.errors import UsageError, shown
from eap_plugin.files import read_bytes, write_whole

_PICKLE = "data.pkl"
_PEEK = 4_000_000


def pickled_text(path: Path) -> bytes:
    """Return the beginning of the pickle in such a file, unread, to look for names in; empty if there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(entry for entry in archive.namelist() if entry.endswith(_PICKLE))
            with archive.open(name) as file:
                return file.read(_PEEK)
    except (OSError, zipfile.BadZipFile, StopIteration, ValueError, NotImplementedError, RuntimeError):
        return b""


def load_torch_file(path: Path) -> dict[str, Any]:
    """Load a dict that ``torch.save`` wrote, of tensors and plain values, onto the CPU.

    Raises:
        UsageError: if the file is damaged, holds anything else, or claims more data than it has.
        EapPluginError: if it cannot be read.
    """
    data = read_bytes(path)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise UsageError(f"{path} is not a file of torch.save, or is damaged ({error})") from error
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries) or (
        sum(entry.file_size for entry in entries) > len(data)
    ):
        raise UsageError(f"{path} is not a file of torch.save: it is compressed or claims more data than it has")
    try:
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        reason = "it is damaged, or holds more than tensors and plain values, which could run code"
        raise UsageError(f"{path} cannot be read: {reason}") from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise UsageError(f"{path} is not a dict with names, got a {type(content).__name__}")
    for name, value in content.items():
        if isinstance(value, Tensor):
            _require_data(value, len(data), f"{path}: {shown(name)}")
    return content


def save_torch_file(content: dict[str, Any], path: Path) -> None:
    """Write a dict as ``torch.save`` does, completely or not at all."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_whole(path, buffer.getvalue())


def _require_data(value: Tensor, n_bytes: int, where: str) -> None:
    """Check that a tensor is an ordinary one whose numbers are all in the file."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise UsageError(f"{where} is not an ordinary tensor")
    if value.numel() * value.element_size() > n_bytes:
        raise UsageError(f"{where} has the shape {list(value.shape)}, more than the file has numbers for")
