"""The program of a scoring run, executed where the weights are by ``model.run``.

1. If the metric compares with the unchanged model (as KL divergence does), its clean logits are added to the batches.
2. The batches are split into microbatches that fit in memory, with shared prefixes if the algorithm allows it
   (``shared_prefixes``), and the algorithm computes scores from them: those of all prompts and, if prompts are grouped,
   those of each group.
3. Meanwhile the self-check compares the graph's formulas with the model, on a run that the algorithm makes or on one of
   its own (``self_check.scoring_check``). If it fails, no scores are returned, and the report says why.
4. Unless the algorithm has computed the metric on clean and corrupt prompts on its way, the model is run for it.
5. The scores come back on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from eap_plugin.algorithm.base import Attribution, Progress
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.by_group import attribute_by_group
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm
from eap_plugin.runner.performance import performance, with_clean_logits
from eap_plugin.runner.self_check.scoring_check import ScoringCheck
from eap_plugin.runner.self_check.self_check import CheckReport
from eap_plugin.runner.shared_prefixes import Sharing, split_for


@dataclass(frozen=True)
class Outcome:
    """The result of a scoring run.

    Attributes:
        report: the self-check on the first prompt.
        found: the scores, with the metric on clean and corrupt prompts; ``None`` if the self-check failed.
    """

    report: CheckReport
    found: Attribution | None = None


def score(
    model: ResidualModel,
    data: Sequence[Microbatch],
    size: int | None,
    attribute: CheckedAlgorithm,
    metric: Metric,
    options: Any,
    sharing: Sharing,
    progress: Callable[[Sequence[int]], Progress],
) -> Outcome:
    """Run the algorithm, and check the model on the first prompt (or batch, if batches must be run whole).

    Args:
        model: the model, frozen.
        data: the prompt pairs, as whole batches or parts of them.
        size: the maximum number of prompt pairs to run at a time; ``None`` for no maximum.
        attribute: the algorithm.
        metric: the metric to attribute.
        options: the algorithm's options.
        sharing: how the algorithm may share prefixes.
        progress: called with the sizes of the microbatches; returns a callback for the algorithm's progress.
    """
    first = data[0].batch.select(slice(0, None if model.run_constraints.whole_batches else 1))
    check = ScoringCheck(model, first.clean_prompts)

    def split(pieces: Sequence[Microbatch]) -> list[Microbatch]:
        return split_for(model, pieces, size, sharing)

    try:
        if metric.needs_clean_logits:
            data = with_clean_logits(model, data, size)
        parts = split(data)
        tick = progress([len(piece.batch) for piece in parts])
        with check.observing(), torch.enable_grad():
            if data[0].batch.groups is None or attribute.keeps_groups:
                found = attribute(model, parts, metric, options, tick)
            else:
                found = attribute_by_group(model, data, split, attribute, metric, options, tick)
    except Exception:
        report = check.report()  # a model that does not pass is a likelier cause
        if report.ok:
            raise
        return Outcome(report)
    report = check.report()
    if not report.ok:
        return Outcome(report)
    if found.clean_metric is None or found.corrupt_metric is None:
        clean, corrupt = performance(model, parts, metric)
        found = replace(found, clean_metric=clean, corrupt_metric=corrupt)
    groups = None if found.groups is None else found.groups.detach().cpu()
    return Outcome(report, replace(found, matrix=found.matrix.detach().cpu(), groups=groups))
