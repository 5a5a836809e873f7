"""Disjoint groups of prompt pairs, over which scores are summed separately to estimate how uncertain they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.data.batch import Batch


def assign_groups(batches: Sequence[Batch], n_groups: int | None) -> tuple[Batch, ...]:
    """Divide prompt pairs at random, but always in the same way, into groups of equal size, give or take one.

    The prompts of each batch are spread evenly over the groups, too.

    Args:
        batches: the prompt pairs.
        n_groups: the number of groups; ``None`` for prompts that are not grouped.

    Returns:
        The batches, with ``Batch.groups``.
    """
    if n_groups is None:
        return tuple(replace(batch, groups=None) for batch in batches)
    generator = torch.Generator().manual_seed(0)
    grouped, n_before = [], 0
    for batch in batches:
        order = torch.randperm(len(batch), generator=generator)
        groups = torch.zeros(len(batch), n_groups, dtype=torch.bool)
        groups[order, (n_before + torch.arange(len(batch))) % n_groups] = True
        grouped.append(replace(batch, groups=groups.to(batch.clean.device)))
        n_before += len(batch)
    return tuple(grouped)


def group_weights(batches: Sequence[Batch]) -> Float[Tensor, "groups 2"] | None:
    """Sum the weights of each group's prompts, and their squares; a prompt's weight is 1 / prompts of its batch.

    Scores are sums over prompts with these weights. Returns ``None`` if the prompts are not grouped.
    """
    counts = [(batch.groups.double().sum(0).cpu(), len(batch)) for batch in batches if batch.groups is not None]
    if not counts:
        return None
    return torch.stack([torch.stack([count / size, count / size**2], 1) for count, size in counts]).sum(0)


def members(batch: Batch) -> dict[int, Int[Tensor, "some"]] | None:
    """Return the rows of the prompts of each group that has any in a batch; ``None`` if prompts are not grouped."""
    if batch.groups is None:
        return None
    rows = {group: chosen.nonzero().flatten() for group, chosen in enumerate(batch.groups.unbind(1))}
    return {group: some for group, some in rows.items() if len(some)}
