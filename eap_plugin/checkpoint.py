"""The state of a long computation in a safetensors file, so that it can go on after an interruption. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.files import write_whole

_KEY = "eap_plugin_checkpoint"


def save_checkpoint(path: str, state: Mapping[str, Tensor], run: Mapping[str, Any]) -> None:
    """Write the state, whole or not at all, with plain values that say which run it is of."""
    tensors = {name: value.contiguous() for name, value in state.items()}
    write_whole(Path(path), save(tensors, {_KEY: json.dumps(run)}))


def load_checkpoint(path: str, run: Mapping[str, Any]) -> dict[str, Tensor] | None:
    """The state that was saved; ``None`` if there is no such file.

    Raises:
        UsageError: if it is no checkpoint, or one of another run, saying what differs.
        EapPluginError: if it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY)
            if header is None:
                raise UsageError(f"{path} is not a checkpoint; give another file")
            _require_same(path, json.loads(header), json.loads(json.dumps(run)))
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dict
    except FileNotFoundError:
        return None
    except (SafetensorError, ValueError) as error:
        raise UsageError(f"{path} is not a whole checkpoint ({error}); delete it to start anew") from error
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error


def _require_same(path: str, saved: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    for name, value in run.items():
        if saved.get(name) != value:
            raise UsageError(
                f"{path} is a checkpoint of another run: its {name} is {saved.get(name)}, this run's {value}; "
                f"give another file, or delete it to start anew"
            )
