"""The gradient of edge masks from its definition: every edge has masks of its own, which autograd differentiates."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import groupby

import torch
from torch import Tensor

from tests.oracle.brute_force import Edge, reading
from tests.oracle.methods import Oracle
from tests.oracle.writers import observe_with_gradients


def mask_gradient(oracle: Oracle, *masks: float) -> dict[Edge, Tensor]:
    """Average every edge's slope over mask values that all edges share, [batch, pos, d_model]."""
    found = [_slopes(oracle, mask) for mask in masks]
    return {edge: torch.stack([one[edge] for one in found]).mean(dim=0) for edge in found[0]}


def _slopes(oracle: Oracle, mask: float) -> dict[Edge, Tensor]:
    """Compute the slope of L in each edge's mask, which is one number per element of its writer's output.

    Readers that read the same stream are given what they read on a run of their own, which has the earlier ones' given.
    """
    model, layout = oracle.model, oracle.layout
    masks: dict[Edge, Tensor] = {}
    with ExitStack() as stack:
        for stream, group in groupby(oracle.readers, lambda reader: reader.stream):
            here = observe_with_gradients(model, layout, oracle.clean)
            change = {writer: oracle.other[writer] - here.written[writer] for writer in here.feeding[stream]}
            for reader in group:
                residual = here.read[stream]
                for writer, way in change.items():
                    leaf = torch.full_like(way, mask).requires_grad_()
                    masks[writer, reader.name] = leaf
                    residual = residual + leaf * way
                stack.enter_context(reading(model, layout, reader, residual))
        slopes = torch.autograd.grad(oracle.loss(), list(masks.values()))
    return dict(zip(masks, slopes, strict=True))
