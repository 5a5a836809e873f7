"""Find the smallest circuit that is faithful enough on held-out prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from eap_plugin.api.batch_size import BatchSize
from eap_plugin.api.circuits import select
from eap_plugin.api.evaluation import evaluate
from eap_plugin.api.models import placed
from eap_plugin.api.prompts import batches_for, held_out_task, load_task
from eap_plugin.api.registries import metrics
from eap_plugin.api.resolve import resolve_metric
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Point
from eap_plugin.circuits.finding import smallest_size
from eap_plugin.circuits.selection.base import Scores, Selection
from eap_plugin.data.prompt_digest import prompt_digest
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.interventions.counterfactual import Ablation
from eap_plugin.metric.metric import Judge, Metric
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.task.task import Task


def find_circuit(
    model: object,
    task: object,
    scores: Scores,
    faithfulness: float = 0.9,
    *,
    held_out: object = None,
    same_prompts: bool = False,
    method: str | Selection[Any] = "top",
    signed: bool = False,
    prune: bool = True,
    metric: str | Metric | Judge | None = None,
    ablation: Ablation = "corrupt",
    ablation_data: object = None,
    around: int = 8,
    batch_size: BatchSize = "auto",
    progress: Callable[[int, int], None] | None = None,
    remote: bool | str = False,
    timeout: float | None = None,
    status: Callable[[str], None] | None = None,
    share_prefix: bool = True,
    **options: Any,
) -> Circuit:
    """Find the smallest circuit whose faithfulness on held-out prompts is at least what is wanted.

    The size is bisected, and at the end all sizes around the answer are measured. So the circuit is at least as
    faithful as wanted, and the ``around`` next smaller ones are not, nor is any smaller one that was measured. If
    faithfulness does not rise with size everywhere, a smaller circuit outside these may be.

    Args:
        model: as for ``prune_scores``.
        task: the prompts that the scores were computed on: a ``Task``, batches, or the name of a task or a file, which
            is loaded as it was for the scores.
        scores: the scores to select by.
        faithfulness: the least faithfulness, above 0 and at most 1; see ``evaluate``.
        held_out: other prompts to judge on, given likewise; by default the next ones of the same task: of a generated
            task those that its seed gives next, of a file or a dataset the rows after those used.
        same_prompts: judge on the prompts that the scores were computed on, which flatters the circuit.
        method: the selection method; see ``selections()``.
        signed: select by large scores; if false, by large absolute scores.
        prune: remove edges on no path from the embedding to the logits from what is selected.
        metric: as for ``prune_scores``; by default the metric that was scored.
        ablation: as for ``evaluate``.
        ablation_data: as for ``evaluate``.
        around: the number of sizes below and above the answer to measure.
        batch_size: as for ``evaluate``.
        progress: called as by ``evaluate``, with the sums over all rounds of the search so far; the total grows with
            every round.
        remote: as for ``prune_scores``.
        timeout: as for ``prune_scores``.
        status: as for ``prune_scores``.
        share_prefix: as for ``evaluate``.
        **options: options of the selection method.

    Returns:
        The circuit. Its metadata has under ``found`` what was wanted, its faithfulness with the 95 % interval over
        prompts, whether prompts were held out and how many there were, metric and ablation, every size that was
        measured with its faithfulness, and how many of the larger ones fall short.

    Raises:
        UsageError: if the scores are not of these prompts, held-out prompts are missing or not others, or an argument
            of ``evaluate`` is wrong.
        EapPluginError: if not even all that was scored is faithful enough, or as in ``evaluate``.
    """
    if not 0 < faithfulness <= 1:
        raise UsageError(f"faithfulness must be above 0 and at most 1, got {faithfulness:g}")
    if same_prompts and held_out is not None:
        raise UsageError("give held_out or same_prompts, not both")
    there = placed(model, RemoteOptions(remote, timeout, status))
    own, others = (
        load_task(data, there, **_as_scored(data, scores)) if isinstance(data, str | Path) else data
        for data in (task, held_out)
    )
    _check_scored(there, own, scores)
    judged = own if same_prompts else _held_out(there, own, others)
    flat = scores.sum_positions()
    judge = resolve_metric(metric or _scored_metric(scores))
    points: dict[int, Point] = {}
    counted = None if progress is None else _Rounds(progress)

    def measure(sizes: Sequence[int]) -> list[float]:
        result = evaluate(
            there,
            judged,
            flat,
            sizes=sizes,
            method=method,
            signed=signed,
            prune=prune,
            metric=judge,
            ablation=ablation,
            ablation_data=ablation_data,
            batch_size=batch_size,
            share_prefix=share_prefix,
            progress=counted,
            **options,
        )
        points.update(zip(sizes, result.points, strict=True))
        return [point.faithfulness for point in result.points]

    found = smallest_size(measure, faithfulness, flat.n_scored, around)
    if found is None:
        raise EapPluginError(
            f"no circuit of these scores has faithfulness {faithfulness:g}; choose a smaller one, or another method"
        )
    size = {f"{flat.level}s": found.size}
    circuit = select(flat, method=method, signed=signed, prune=prune, **size, **options)
    point = points[found.size]
    about = {
        "wanted": faithfulness,
        "faithfulness": point.faithfulness,
        "interval": point.interval and list(point.interval),
        "held_out": not same_prompts,
        "n_prompts": sum(map(len, batches_for(there, judged))),
        "metric": judge.name,
        "ablation": ablation,
        "measured": [list(measurement) for measurement in found.measured.items()],
        "n_larger_short": found.n_short,
    }
    return replace(circuit, metadata=circuit.metadata | {"found": about})


class _Rounds:
    """A callback that adds up the progress of rounds, each of which counts from the start."""

    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self._progress, self._before = progress, 0

    def __call__(self, done: int, total: int) -> None:
        """Report the progress of a round, after those before it."""
        self._progress(self._before + done, self._before + total)
        self._before += total * (done == total)


def _as_scored(name: str | Path, scores: Scores) -> dict[str, Any]:
    """Return the arguments of ``load_task`` with which the scored prompts were loaded; the format only of that file."""
    known = scores.metadata.get("task_source", {})
    same = known.get("name") in (str(name), str(Path(name).resolve()))
    return {key: value for key, value in known.items() if key != "name" and (same or key != "format")}


def _check_scored(model: ResidualModel, task: object, scores: Scores) -> None:
    """Check that scores were computed on these prompts, if they say on which they were.

    Raises:
        UsageError: if they were computed on others.
    """
    digest = scores.metadata.get("task_digest")
    if digest is not None and digest != prompt_digest(batches_for(model, task)):
        raise UsageError(
            f"the scores were computed on other prompts ({scores.metadata.get('task', 'unknown')}) than these; give "
            f"those as the task, and prompts to judge on as held_out"
        )


def _held_out(model: ResidualModel, task: object, given: object) -> object:
    """Return the prompts to judge on, checked to be others than the task's."""
    if given is None:
        if isinstance(task, Task):
            return held_out_task(task, model)
        raise UsageError("batches have no further prompts; give others as held_out, or choose same_prompts")
    used = {ids for batch in batches_for(model, task) for ids in batch.clean_prompts.rows}
    common = [ids for batch in batches_for(model, given) for ids in batch.clean_prompts.rows if ids in used]
    if common:
        raise UsageError(f"{len(common)} of the held-out prompts were used for the scores; leave these out")
    return given


def _scored_metric(scores: Scores) -> str:
    """Return the metric that was scored, if it is registered."""
    name = str(scores.metadata.get("metric", ""))
    return name if name in metrics() else "logit_diff"
