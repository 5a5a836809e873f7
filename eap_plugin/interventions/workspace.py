"""The size limit of temporary tensors, on each kind of device."""

from __future__ import annotations

import torch

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
