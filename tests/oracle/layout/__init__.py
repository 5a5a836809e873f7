"""Where the readers and writers of each model family are in its plain Hugging Face module, as of transformers 5.22.

Attention modules return tuples; hooks go on the linear layers inside them.
"""

from __future__ import annotations

from tests.oracle.layout import gpt, llama
from tests.oracle.layout.layout import Layout

LAYOUTS: dict[str, Layout] = {**gpt.LAYOUTS, **llama.LAYOUTS}
"""By the names of ``tests.zoo``."""

__all__ = ["LAYOUTS", "Layout"]
