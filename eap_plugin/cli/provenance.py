"""The origin of scores, formatted for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eap_plugin.cli.output import number, printable

LABELS = {"n_prompts": "prompt pairs", "n_batches": "batches"}


def provenance(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return what a score file records about its origin, by label; empty values are left out."""
    texts = {printable(LABELS.get(name, name.replace("_", " "))): _text(value) for name, value in metadata.items()}
    return {label: text for label, text in texts.items() if text}


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {text}" for name, text in zip(value, map(_text, value.values()), strict=True) if text)
    if isinstance(value, float):
        return number(value)
    return "" if value is None else printable(str(value))
