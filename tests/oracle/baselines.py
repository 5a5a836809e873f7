"""What is read off a clean run of a plain Hugging Face model: how large writers are, and their shares of readers."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.oracle.brute_force import Edge
from tests.oracle.methods import Oracle


def magnitudes(oracle: Oracle, *, absolute: bool) -> dict[str, Tensor]:
    """Compute the magnitude of each writer's mean output at real tokens, or the mean of the magnitudes."""
    added = {writer: x[oracle.real] for writer, x in oracle.run.written.items()}
    return {writer: (x.abs() if absolute else x).mean().abs() for writer, x in added.items()}


def routes(oracle: Oracle) -> dict[Edge, Tensor]:
    """Information flow routes: each edge's importance, averaged over real tokens and prompts, [pos].

    Where no writer brings a reader's input closer, all importances are zero.
    """
    run, out = oracle.run, {}
    real = oracle.real.double()
    weight = real / real.sum(dim=1, keepdim=True) / len(real)
    for reader in oracle.readers:
        whole, writers = run.read[reader.stream], run.feeding[reader.stream]
        near = {u: (whole.norm(1, dim=-1) - (whole - run.written[u]).norm(1, dim=-1)).clamp_min(0) for u in writers}
        total = torch.stack(list(near.values())).sum(dim=0).clamp_min(1e-300)
        out |= {(u, reader.name): (x / total * weight).sum(dim=0) for u, x in near.items()}
    return out
