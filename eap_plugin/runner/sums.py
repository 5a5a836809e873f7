"""Adding up the scores of parts of the data, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from eap_plugin.algorithm.base import Attribution
from eap_plugin.data.microbatches import mean_by_share


def add_up(parts: Iterable[tuple[Attribution, float]]) -> Attribution:
    """Add the scores of parts of the data one after another; average their metrics, weighted by the parts' shares.

    Args:
        parts: the scores of each part, and its share of the data; they are taken one at a time and not kept.
    """
    total: Attribution | None = None
    clean, corrupt, shares = [], [], []
    for found, share in parts:
        total = found if total is None else _plus(total, found)
        clean.append(found.clean_metric or 0.0)
        corrupt.append(found.corrupt_metric or 0.0)
        shares.append(share)
    assert total is not None
    if len(shares) == 1:
        return total
    return replace(total, clean_metric=mean_by_share(clean, shares), corrupt_metric=mean_by_share(corrupt, shares))


def _plus(total: Attribution, found: Attribution) -> Attribution:
    groups = None if total.groups is None or found.groups is None else _added(total.groups, found.groups, 1)
    return replace(total, matrix=_added(total.matrix, found.matrix, 0), groups=groups)


def _added(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Add tensors that may differ in length along an axis, as scores per position do: the shorter one ends early."""
    length = max(a.shape[axis], b.shape[axis])
    behind = [0, 0] * (a.ndim - 1 - axis)
    padded = (pad(x, [*behind, 0, length - x.shape[axis]]) if x.shape[axis] < length else x for x in (a, b))
    return torch.add(*padded)
