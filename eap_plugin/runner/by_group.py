"""Running an algorithm on the prompts of each group separately, if it does not keep groups apart itself.

The number of passes per prompt is the same as on all prompts together, but a pass runs fewer prompts at a time. If the
ablation is a mean, it is taken over all of the data, once. Of the built-in algorithms, this concerns
``exact`` alone, whose scores take a pass per edge, so that a pass more per group does not matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from eap_plugin.algorithm.base import Attribution, Progress
from eap_plugin.data.microbatches import Microbatch, Reference, mean_by_share
from eap_plugin.data.prompt_groups import members
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel


def attribute_by_group(
    model: ResidualModel,
    data: Sequence[Microbatch],
    split: Callable[[Sequence[Microbatch]], list[Microbatch]],
    attribute: Callable[..., Attribution],
    metric: Metric,
    options: Any,
    progress: Progress,
) -> Attribution:
    """Return the scores of all prompts, and those of each group.

    Args:
        model: the model.
        data: the prompt pairs, with ``Batch.groups``.
        split: splits prompt pairs into microbatches.
        attribute: the ``attribute`` of an additive algorithm.
        metric: the metric to attribute.
        options: the algorithm's options.
        progress: called when microbatches are done.
    """
    whole = split(data)
    reference = data[0].reference or Reference(piece.batch for piece in whole)
    groups = {group: split(pieces) for group, pieces in _by_group(data, reference).items()}
    scale = len(whole) / sum(map(len, groups.values()))

    def tick(pieces: float = 1.0) -> None:
        progress(pieces * scale)

    found = {group: attribute(model, pieces, metric, options, tick) for group, pieces in groups.items()}
    return _joined(found, [sum(piece.share for piece in groups[group]) for group in found], _n_groups(data))


def _n_groups(data: Sequence[Microbatch]) -> int:
    groups = data[0].batch.groups
    assert groups is not None
    return groups.shape[1]


def _by_group(data: Sequence[Microbatch], reference: Reference) -> dict[int, list[Microbatch]]:
    """Return the prompt pairs of each group that has any; means are taken over ``reference``."""
    groups: dict[int, list[Microbatch]] = {}
    for piece in data:
        for group, rows in (members(piece.batch) or {}).items():
            share = piece.share * len(rows) / len(piece.batch)
            groups.setdefault(group, []).append(Microbatch(piece.batch.select(rows), share, reference))
    return groups


def _joined(found: dict[int, Attribution], shares: Sequence[float], n_groups: int) -> Attribution:
    """Stack the scores of groups, zero for those without prompts; average their metrics, weighted by their shares."""
    first = next(iter(found.values()))
    n_rows = max(len(part.matrix) for part in found.values())  # groups may differ in length if scores are per position
    groups = first.matrix.new_zeros(n_groups, n_rows, *first.matrix.shape[1:])
    for group, part in found.items():
        groups[group, : len(part.matrix)] = part.matrix
    clean, corrupt = (
        None if None in values else mean_by_share(values, shares)
        for values in zip(*((part.clean_metric, part.corrupt_metric) for part in found.values()), strict=True)
    )
    return replace(first, matrix=groups.sum(0), groups=groups, clean_metric=clean, corrupt_metric=corrupt)
