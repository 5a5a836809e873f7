"""The kinds of figures; on their own, because the command line lists them without importing PyTorch."""

from __future__ import annotations

KINDS = ("faithfulness", "scores", "scatter", "positions", "nodes", "circuit")
"""The names of the kinds of figures."""
