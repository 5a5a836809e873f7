"""Temporary tensors: their size limit on each kind of device, and memory that is used again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

WORKSPACE = {"cpu": 2**24}
"""The most entries of a temporary tensor, by kind of device; ``BIG_WORKSPACE`` for kinds that are not listed.

The largest temporary tensor is [writers, tokens, d_model], so this sets how many positions are scored at a time. The
limit is low on a CPU, whose caches are small and where allocating memory is slow, and high on accelerators, where
launching a kernel is what costs time.
"""

BIG_WORKSPACE = 2**27
"""The most entries of a temporary tensor on an accelerator."""


def waiting_gradients(device: torch.device) -> int:
    """Return the most entries of gradients on ``device`` that may be kept to be multiplied together."""
    return 2 * workspace(device)


def workspace(device: torch.device) -> int:
    """Return the most entries that a temporary tensor on ``device`` may have."""
    return WORKSPACE.get(device.type, BIG_WORKSPACE)


class Buffers:
    """Memory that is used again by one run after another, as allocating large tensors takes long on a CPU."""

    def __init__(self) -> None:
        """Start without memory."""
        self._kept: dict[str, Tensor] = {}

    def take(self, name: str, shape: Sequence[int], like: Tensor) -> Tensor:
        """Return uninitialized memory; whatever was taken by the same name before is overwritten."""
        size = math.prod(shape)
        kept = self._kept.get(name)
        if kept is None or len(kept) < size or kept.dtype != like.dtype or kept.device != like.device:
            kept = self._kept[name] = like.new_empty(size)
        return kept[:size].view(*shape)
