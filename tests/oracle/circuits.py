"""A run of a plain Hugging Face model in which any set of edges carries what another prompt put there."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor

from tests.oracle.brute_force import Edge, readers, reading
from tests.oracle.layout import LAYOUTS
from tests.oracle.writers import observe


@torch.no_grad()
def patched_logits(model: Any, name: str, clean: Tensor, corrupt: Tensor, edges: Collection[Edge]) -> Tensor:
    """Compute the last position's logits, [batch, vocab].

    Readers are patched one after another in forward order, each on a run of its own that has the earlier ones patched.
    """
    layout, there = LAYOUTS[name], observe(model, LAYOUTS[name], corrupt).written
    with ExitStack() as stack:
        for reader in readers(layout, len(model.get_submodule(layout.layers))):
            writers = [u for u, v in edges if v == reader.name]
            if writers:
                here = observe(model, layout, clean)
                change = sum(there[u] - here.written[u] for u in writers)
                stack.enter_context(reading(model, layout, reader, here.read[reader.stream] + change))
        return model(clean, use_cache=False).logits[:, -1]
