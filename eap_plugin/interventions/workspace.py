"""How large temporary tensors may be."""

from __future__ import annotations

import torch

WORKSPACE = {"cpu": 2**23}
"""By kind of device, entries of the largest temporary tensor: writers × tokens × d_model of a piece of positions.

Small on a CPU, where fresh memory is dear and caches are small; ``BIG_WORKSPACE`` on accelerators, where launches are.
"""

BIG_WORKSPACE = 2**27


def workspace(device: torch.device) -> int:
    """Entries of the largest temporary tensor there."""
    return WORKSPACE.get(device.type, BIG_WORKSPACE)
