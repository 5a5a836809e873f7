"""Where scores come from, as people read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def provenance(metadata: Mapping[str, Any]) -> dict[str, str]:
    """What a score file says of its origin, name by name, nested values on one line."""
    return {name.replace("_", " "): _text(value) for name, value in metadata.items()}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items()) or "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
