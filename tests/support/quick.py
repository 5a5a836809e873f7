"""Options with which those algorithms take less long that go over the data many times; for tests of all algorithms."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {"acdc": {"thresholds": 1}, "edge-pruning": {"steps": 3}}
