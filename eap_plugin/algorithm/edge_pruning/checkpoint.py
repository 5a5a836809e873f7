"""Checkpoints: the state of a long computation in a safetensors file, from which it can resume.

The safetensors format is implemented here, because this module is sent to servers, which may not have the library.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.files import write_whole

_KEY = "eap_plugin_checkpoint"
_LENGTH = "<Q"
"""Struct format of the header's length, the first 8 bytes of the file."""


def save_checkpoint(path: str, state: Mapping[str, Float[Tensor, "n"]], run: Mapping[str, Any]) -> None:
    """Write a checkpoint to a temporary file, which is then renamed to ``path``.

    Args:
        path: the file.
        state: float64 vectors, by name.
        run: values that identify the run, as JSON can represent them.
    """
    header: dict[str, Any] = {"__metadata__": {_KEY: json.dumps(run)}}
    data = b""
    for name, value in state.items():
        start, data = len(data), data + value.numpy().tobytes()
        header[name] = {"dtype": "F64", "shape": list(value.shape), "data_offsets": [start, len(data)]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    write_whole(Path(path), struct.pack(_LENGTH, len(head)) + head + data)


def load_checkpoint(path: str, run: Mapping[str, Any]) -> dict[str, Float[Tensor, "n"]] | None:
    """Read the state from a checkpoint; return ``None`` if the file does not exist.

    Args:
        path: the file.
        run: the values that identify this run, as for ``save_checkpoint``.

    Raises:
        UsageError: if the file is not a complete checkpoint, or belongs to another run.
        EapPluginError: if the file cannot be read.
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        start = 8 + struct.unpack_from(_LENGTH, content)[0]
        header = json.loads(content[8:start])
        saved = json.loads(header.pop("__metadata__")[_KEY])
        state = {name: _vector(content[start:], *about["data_offsets"]) for name, about in header.items()}
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a complete checkpoint; give another file, or delete it to start over"
        ) from error
    _require_same(path, saved, json.loads(json.dumps(run)))
    return state


def _vector(data: bytes, start: int, stop: int) -> Float[Tensor, "n"]:
    if len(data) < stop:
        raise ValueError("the file is truncated")
    return torch.frombuffer(bytearray(data[start:stop]), dtype=torch.float64)


def _require_same(path: str, saved: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    for name, value in run.items():
        if saved.get(name) != value:
            raise UsageError(
                f"{path} is a checkpoint of another run: its {name} is {saved.get(name)}, this run's {value}; "
                f"give another file, or delete it to start over"
            )
