"""Options that make slow algorithms, which pass over the data many times, fast enough for tests of all algorithms."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {"acdc": {"thresholds": 1}, "edge-pruning": {"steps": 3}}
