"""Runs of plain Hugging Face models in which edges carry something else, and what they do to the metric."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from itertools import groupby

import torch
from torch import Tensor

from tests.oracle.brute_force import Edge, reading
from tests.oracle.methods import Oracle, adding, place_of
from tests.oracle.writers import observe


@torch.no_grad()
def edge_effects(oracle: Oracle) -> dict[Edge, float]:
    """Compute the exact effect of each edge: L with only this edge patched, minus L on the clean run."""
    model, layout, plain = oracle.model, oracle.layout, oracle.loss().item()
    effects = {}
    for reader in oracle.readers:
        for writer in oracle.run.feeding[reader.stream]:
            with reading(model, layout, reader, oracle.run.read[reader.stream] + oracle.change[writer]):
                effects[writer, reader.name] = oracle.loss().item() - plain
    return effects


@torch.no_grad()
def writer_effects(oracle: Oracle) -> dict[str, float]:
    """Compute the exact effect of each writer: L with all its output changed, minus L on the clean run."""
    plain, effects = oracle.loss().item(), {}
    for writer, change in oracle.change.items():
        with adding(oracle.model, oracle.layout, place_of(writer), change):
            effects[writer] = oracle.loss().item() - plain
    return effects


def removed(oracle: Oracle, threshold: float, guess: Collection[Edge] = ()) -> set[Edge]:
    """List the edges that ACDC removes, visiting readers from the last on, and each reader's writers likewise.

    All edges are decided at once, each on top of those that are taken to be gone before it, until what is decided is
    what was taken: then it is what deciding them one by one gives. How soon that is depends on the first guess.
    """
    order = [
        (u, reader.name) for reader in reversed(oracle.readers) for u in reversed(oracle.run.feeding[reader.stream])
    ]
    gone = torch.tensor([edge in guess for edge in order])
    before = torch.ones(len(order), len(order)).tril(-1).bool()
    while True:
        patched = before & gone
        losses = patched_losses(oracle, order, torch.cat([patched, patched | torch.eye(len(order)).bool()]))
        decided = losses[len(order) :] - losses[: len(order)] < threshold
        if torch.equal(decided, gone):
            return {edge for edge, goes in zip(order, gone.tolist(), strict=True) if goes}
        gone = decided


@torch.no_grad()
def patched_losses(oracle: Oracle, edges: Sequence[Edge], patched: Tensor) -> Tensor:
    """L with edges carrying what their writers are changed to, for each row of ``patched`` [rows, edges], [rows].

    Each row has a copy of the prompts. Readers are patched in forward order, those of one stream on a run of their own
    that has the earlier ones patched.
    """
    model, layout, n_prompts = oracle.model, oracle.layout, len(oracle.clean)
    tokens = oracle.clean.repeat(len(patched), 1)
    into: dict[str, list[int]] = {}
    for index, (_, reader_name) in enumerate(edges):
        into.setdefault(reader_name, []).append(index)
    with ExitStack() as stack:
        for stream, group in groupby(oracle.readers, lambda reader: reader.stream):
            here = observe(model, layout, tokens)
            change = {u: oracle.other[u].repeat(len(patched), 1, 1) - here.written[u] for u in here.feeding[stream]}
            for reader in group:
                residual = here.read[stream]
                for index in into[reader.name]:
                    rows = patched[:, index].repeat_interleave(n_prompts)[:, None, None]
                    residual = residual + rows * change[edges[index][0]]
                stack.enter_context(reading(model, layout, reader, residual))
        logits = model(tokens, use_cache=False).logits[:, -1]
    return torch.stack([-oracle.metric(part).mean() for part in logits.split(n_prompts)])
