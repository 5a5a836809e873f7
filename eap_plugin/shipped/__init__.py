"""The small models in the package, for demonstrations and tests without a network."""

from __future__ import annotations

from pathlib import Path

SHIPPED: dict[str, Path] = {
    folder.name: folder
    for folder in sorted(Path(__file__).resolve().parent.iterdir())
    if (folder / "config.json").is_file()
}
"""The folder of each shipped model, by name; it can be loaded like any saved Hugging Face model."""
