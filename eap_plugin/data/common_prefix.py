"""Microbatches of prompt pairs that begin alike, so that what clean and corrupt prompts have in common is run once.

With causal attention, everything before the first difference of a clean and a corrupt prompt is the same in both runs,
and its scores are zero. So a microbatch's first positions can be run once, without gradients, and every further pass
can continue from their keys and values. A microbatch gains as much as its pair with the earliest difference allows:

1. ``common_positions`` counts the positions that each pair can leave to a prefix.
2. ``split_by_prefix`` sorts the pairs of a batch by this number and cuts them into microbatches. The more there are,
   the longer are their prefixes, but a pass takes some time whatever its size. ``PassCost`` weighs both.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch, split_microbatches


class PassCost(NamedTuple):
    """The cost of running a microbatch, in tokens of one pass.

    Attributes:
        passes: the number of passes, forward or backward, that are made on each microbatch.
        overhead: what a pass costs besides its tokens: the time for which it could run so many more.
    """

    passes: int
    overhead: int

    def of(self, n_prompts: int, n_pos: int, n_prefix: int, n_pieces: int = 1) -> int:
        """Return the cost of prompts that are run in some pieces of equal size, each after a prefix if it has one."""
        each_pass = self.overhead * n_pieces
        rest = self.passes * (each_pass + n_prompts * (n_pos - n_prefix))
        return rest + (each_pass + n_prompts * n_prefix if n_prefix else 0)

    def total(self, pieces: Iterable[Microbatch]) -> int:
        """Return the cost of some microbatches."""
        return sum(self.of(len(piece.batch), piece.batch.clean.shape[1], piece.n_prefix) for piece in pieces)


def common_positions(batch: Batch) -> Int[Tensor, "batch"]:
    """Count the first positions at which clean and corrupt prompts agree, without that whose logits are needed."""
    n_pos = batch.clean.shape[1]
    positions = torch.arange(n_pos, device=batch.clean.device)
    first = torch.where(batch.clean != batch.corrupt, positions, n_pos).amin(1)
    return torch.minimum(first, batch.last)


def split_by_prefix(
    data: Iterable[Microbatch], size: int | None, cost: PassCost, in_order: bool = False
) -> list[Microbatch]:
    """Split microbatches so that they cost as little as possible, with prefixes where these pay.

    Args:
        data: the microbatches, or whole batches.
        size: the maximum number of prompt pairs in a microbatch; ``None`` for no maximum.
        cost: the cost of a microbatch.
        in_order: split as without prefixes, into as few microbatches as ``size`` allows and with the pairs in order.
    """
    if in_order:
        return [_whole(piece, cost) for piece in split_microbatches(data, size)]
    return [part for piece in data for part in _split(piece, size or len(piece.batch), cost)]


def _whole(piece: Microbatch, cost: PassCost) -> Microbatch:
    """Return a microbatch with the prefix that all of its pairs have in common, if that pays."""
    size, n_prefix = piece.batch.clean.shape, int(common_positions(piece.batch).min())
    pays = cost.of(size[0], size[1], n_prefix) < cost.of(size[0], size[1], 0)
    return piece._replace(n_prefix=n_prefix if pays else 0)


def _split(piece: Microbatch, size: int, cost: PassCost) -> list[Microbatch]:
    common = common_positions(piece.batch)
    lengths, counts = torch.unique(common, return_counts=True)
    order = common.argsort(stable=True)
    parts = []
    for first, stop, shared in _groups(lengths.tolist(), counts.tolist(), piece.batch.clean.shape[1], size, cost):
        rows = order[int(counts[:first].sum()) : int(counts[:stop].sum())]
        for some in torch.split(rows if shared else rows.sort().values, size):
            chosen = some.sort().values
            batch = piece.batch if len(chosen) == len(piece.batch) else piece.batch.select(chosen)
            share = piece.share * len(chosen) / len(piece.batch)
            parts.append(piece._replace(batch=batch, share=share, n_prefix=int(common[chosen].min()) if shared else 0))
    return parts


def _groups(
    lengths: Sequence[int], counts: Sequence[int], n_pos: int, size: int, cost: PassCost
) -> list[tuple[int, int, bool]]:
    """Divide prompt pairs, sorted by their common positions, into groups of the least total cost.

    Args:
        lengths: the numbers of common positions that occur, in ascending order.
        counts: how many pairs have each of them.
        n_pos: the number of positions of each prompt.
        size: the maximum number of pairs in a microbatch.
        cost: the cost of a microbatch.

    Returns:
        For each group, its first length and the one after its last, by index, and whether it gets a prefix.
    """
    best = [(0, 0, False)]  # of the first 0, 1, ... lengths: the least cost; the first and the kind of the last group
    for stop in range(1, len(lengths) + 1):
        choices, n_prompts = [], 0
        for first in reversed(range(stop)):
            n_prompts += counts[first]
            for n_prefix in {0, lengths[first]}:
                total = cost.of(n_prompts, n_pos, n_prefix, n_pieces=ceil(n_prompts / size))
                choices.append((best[first][0] + total, first, n_prefix > 0))
        best.append(min(choices))
    groups: list[tuple[int, int, bool]] = []
    stop = len(lengths)
    while stop:
        _, first, shared = best[stop]
        groups.insert(0, (first, stop, shared))
        stop = first
    return groups
