"""The unit of scores, as it is shown beside them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def with_unit(text: str, metadata: Mapping[str, Any]) -> str:
    """Return the name of scores, or of a sum of them, followed by their unit, if the metadata of a file has one.

    Files of earlier versions record only the metric's unit, which is that of the scores of most algorithms.
    """
    unit = metadata.get("score_unit", metadata.get("metric_unit"))
    return f"{text} ({unit})" if unit else text
