"""Scores of some prompt pairs by an algorithm, with everything that the pairs need for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from eap_plugin.algorithm.base import Attribution, Progress
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.by_group import attribute_by_group
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm
from eap_plugin.runner.performance import performance, with_clean_logits


def score_pieces(
    model: ResidualModel,
    data: Sequence[Microbatch],
    split: Callable[[Sequence[Microbatch]], list[Microbatch]],
    attribute: CheckedAlgorithm,
    metric: Metric,
    options: Any,
    progress: Callable[[Sequence[int]], Progress],
) -> Attribution:
    """Score prompt pairs in the microbatches into which ``split`` divides them; see ``runner.program.score``."""
    if metric.needs_clean_logits:
        data = with_clean_logits(model, data, max(len(piece.batch) for piece in split(data)))
    parts = split(data)
    tick = progress([len(piece.batch) for piece in parts])
    if data[0].batch.groups is None or attribute.keeps_groups:
        found = attribute(model, parts, metric, options, tick)
    else:
        found = attribute_by_group(model, data, split, attribute, metric, options, tick)
    if found.clean_metric is None or found.corrupt_metric is None:
        clean, corrupt = performance(model, parts, metric)
        found = replace(found, clean_metric=clean, corrupt_metric=corrupt)
    groups = None if found.groups is None else found.groups.detach().cpu()
    return replace(found, matrix=found.matrix.detach().cpu(), groups=groups)
