"""The origin of scores, formatted for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eap_plugin.cli.output import number

LABELS = {"n_prompts": "prompt pairs", "n_batches": "batches", "n_groups": "groups of prompts"}


def provenance(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what a score file records about its origin, by label; empty values are left out."""
    texts = {LABELS.get(name, name.replace("_", " ")): _text(value) for name, value in metadata.items()}
    return {label: text for label, text in texts.items() if text}


def _text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(part, Mapping) for part in value):
        return "; ".join(_origin(part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in zip(value, map(_text, value.values()), strict=True) if text)
    if isinstance(value, float):
        return number(value)
    return "" if value is None else str(value)


def _origin(metadata: Mapping[str, Any]) -> str:
    """Return what scores that are part of a combination were computed with, in short."""
    return ", ".join(str(metadata[name]) for name in ("algorithm", "model", "task") if name in metadata)
