"""The provenance of scores, as saved in score files: everything needed to compute them again."""

from __future__ import annotations

import hashlib
import inspect
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from importlib.metadata import version
from typing import Any, cast

from jaxtyping import Int
from torch import Tensor

import eap_plugin
from eap_plugin.data.batch import NO_ANSWER, Batch
from eap_plugin.data.prompt_digest import prompt_digest
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.run import Run
from eap_plugin.task.task import Task

EXAMPLES, EXAMPLE_TOKENS = 3, 64
"""How many prompt pairs are recorded as examples, and how many tokens of each."""


def provenance(run: Run) -> dict[str, Any]:
    """Return algorithm and options, metric, sign, model, library versions and data of a run, as plain values."""
    model, algorithm, metric, data = run.model, run.algorithm, run.metric, run.data
    return {
        "algorithm": algorithm.name,
        "options": asdict(run.options),
        "reference": algorithm.reference,
        "gradient_run": algorithm.gradient_run,
        "sign": algorithm.sign,
        "score_unit": algorithm.score_unit or metric.unit,
        **evaluation_provenance(model, data, run.batches, metric),
        "n_batches": len(run.batches),
        **({} if run.n_groups is None else {"n_groups": run.n_groups}),
    }


def evaluation_provenance(
    model: ResidualModel, data: object, batches: Sequence[Batch], metric: Metric
) -> dict[str, Any]:
    """Return metric, model, library versions and data of a run, as plain values."""
    return {
        "metric": metric.name,
        "metric_unit": metric.unit,
        "model": model.name,
        "d_model": model.info.d_model,
        "provenance": model.provenance,
        "dtype": "" if model.remote else str(model.dtype).removeprefix("torch."),
        "host": model.remote.host if model.remote else "",
        "versions": _versions(),
        "task": data.name if isinstance(data, Task) else type(data).__name__,
        "task_source": dict(data.source) if isinstance(data, Task) else {},
        "task_digest": prompt_digest(batches),
        "n_prompts": sum(len(batch) for batch in batches),
        "examples": examples(batches, model.tokenizer),
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def examples(batches: Sequence[Batch], tokenizer: Any) -> list[dict[str, list[str]]]:
    """Return the first few prompt pairs as the texts of their tokens; of long prompts, the last tokens.

    Without a tokenizer, the texts are token ids.
    """
    batch = batches[0].select(slice(0, EXAMPLES))

    def texts(ids: Tensor) -> list[str]:
        return [str(token) if tokenizer is None else tokenizer.decode([token]) for token in ids.tolist()]

    return [
        {
            "clean": texts(batch.clean[row][batch.real[row]][-EXAMPLE_TOKENS:]),
            "corrupt": texts(batch.corrupt[row][batch.real[row]][-EXAMPLE_TOKENS:]),
            "answers": texts(_given(batch.answers[row])),
            "wrong_answers": texts(_given(batch.wrong_answers[row])),
        }
        for row in range(len(batch))
    ]


def _given(answers: Int[Tensor, "answers"]) -> Int[Tensor, "given"]:
    """Return the first few answers of a prompt, without padding."""
    return answers[answers != NO_ANSWER][:EXAMPLES]


def run_identity(run: Run, about: dict[str, Any], prompts_per_request: int | None) -> dict[str, Any]:
    """Return everything that a run's scores depend on, and how the run is split into requests, as plain values.

    Args:
        run: the run; its algorithm and its metric count by their source, because they may change under one name.
        about: its provenance; the time of creation does not count.
        prompts_per_request: the maximum number of prompt pairs per request.
    """
    return {name: value for name, value in about.items() if name != "created"} | {
        "algorithm_code": _hash("".join(_source(cls) for cls in type(run.algorithm).__mro__)),
        "metric_code": _hash(_source(run.metric.judge)),
        "batch_size": str(run.batch_size),
        "prompts_per_request": prompts_per_request,
        "ablation_data_digest": prompt_digest(run.reference) if run.reference else "",
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _source(thing: object) -> str:
    """Return the source text of a function, or of a class's module; the name of the class if it has none."""
    try:
        return inspect.getsource(cast(Any, inspect.getmodule(thing) if isinstance(thing, type) else thing))
    except (OSError, TypeError):
        return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("torch", "transformers")}
    return {"eap-plugin": eap_plugin.__version__, "python": platform.python_version(), **packages}
