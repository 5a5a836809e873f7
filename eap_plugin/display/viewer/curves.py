"""The measured faithfulness that a page shows beside the size of a circuit."""

from __future__ import annotations

from typing import Any

from eap_plugin.circuits.evaluation.bootstrap import Interval
from eap_plugin.circuits.evaluation.result import Evaluation


def curve(evaluation: Evaluation) -> dict[str, Any]:
    """Return the points of an evaluation, the selection that they are of, and the areas under the curves."""
    return {
        "method": evaluation.selection.get("method"),
        "created": evaluation.evaluated.get("created"),
        "points": [
            {
                "size": point.size,
                "n_edges": point.n_edges,
                "signed": point.signed,
                "faithfulness": point.faithfulness,
                "interval": _ends(point.interval),
                "random": point.random_mean,
                "random_band": _ends(point.random_band),
            }
            for point in evaluation.points
        ],
        "cpr": evaluation.cpr,
        "cmd": evaluation.cmd,
        "n_prompts": len(evaluation.clean),
        "tests": [{"name": test.name, "passed": test.passed, "sentence": test.sentence} for test in evaluation.tests],
        "metadata": {name: value for name, value in evaluation.metadata.items() if name != "evaluated"},
    }


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]
