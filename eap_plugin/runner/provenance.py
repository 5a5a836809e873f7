"""Where scores come from, in full, for the files they are saved in."""

from __future__ import annotations

import hashlib
import inspect
import json
import platform
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any, cast

import eap_plugin
from eap_plugin.algorithm.base import Algorithm
from eap_plugin.data.batch import Batch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.task.task import Task


def provenance(
    model: ResidualModel,
    algorithm: Algorithm[Any],
    options: Any,
    metric: Metric,
    data: object,
    batches: list[Batch],
) -> dict[str, Any]:
    """Algorithm and options, metric, sign, model, library versions and data, as plain values."""
    return {
        "algorithm": algorithm.name,
        "options": asdict(options),
        "reference": algorithm.reference,
        "gradient_run": algorithm.gradient_run,
        "sign": algorithm.sign,
        "metric": metric.name,
        "metric_unit": metric.unit,
        "model": model.name,
        "provenance": model.provenance,
        "host": model.remote.host if model.remote else "",
        "versions": _versions(),
        "task": data.name if isinstance(data, Task) else type(data).__name__,
        "task_digest": data.digest if isinstance(data, Task) else _digest(batches),
        "n_prompts": sum(len(batch) for batch in batches),
        "n_batches": len(batches),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def run_digest(about: dict[str, Any], metric: Metric, *how: object) -> str:
    """What a run is told apart by: all that its scores depend on.

    Args:
        about: its provenance; when it was made does not count.
        metric: its metric, which may be a function under any name.
        *how: how it was split.
    """
    content = [{name: value for name, value in about.items() if name != "created"}, _source(metric.judge), how]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()


def _source(function: object) -> str:
    """A function's text, or its name where there is none."""
    try:
        return inspect.getsource(cast(Any, function))
    except (OSError, TypeError):
        return f"{type(function).__module__}.{type(function).__qualname__}"


def _digest(batches: list[Batch]) -> str:
    content = [
        [b.clean.tolist(), b.corrupt.tolist(), b.answers.tolist(), b.wrong_answers.tolist(), _mask(b)] for b in batches
    ]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _mask(batch: Batch) -> list[list[bool]] | None:
    return None if batch.attention_mask is None else batch.attention_mask.tolist()


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "transformers")}
    return {"eap-plugin": eap_plugin.__version__, "python": platform.python_version(), **packages}
