"""Whether the runs of a model may share prefixes, and the microbatches that do.

Sharing is refused unless the model gives the same logits from a prefix's keys and values as from whole prompts. This is
checked on prompts of the run itself, before any scores are computed:

1. ``with_shared_prefixes`` splits the data by the positions that clean and corrupt prompts have in common.
2. If that saves more than the checks cost, the shortest and the longest prefix are checked, and the prompts with most
   padding. A model whose keys depend on the length of the prompt (as with scaled rotary embeddings) fails at one of the
   two lengths if it fails at any between them.
3. If the logits differ by more than rounding, or the model cannot run this way, whole prompts are run instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from eap_plugin.data.common_prefix import PassCost, split_by_prefix
from eap_plugin.data.microbatches import Microbatch, split_microbatches
from eap_plugin.data.prompts import Prompts
from eap_plugin.model.residual_model import ResidualModel

PASS_OVERHEAD = {"cpu": 20}
"""By type of device, the tokens that could be run in the time that a pass takes besides its tokens (``PassCost``)."""

ACCELERATOR_OVERHEAD = 500
"""The same for all other devices."""


def with_shared_prefixes(
    model: ResidualModel, data: Sequence[Microbatch], size: int | None, passes: int
) -> list[Microbatch]:
    """Split microbatches, with prefixes where these save work and are right for this model; for ``model.run``.

    Args:
        model: the model, frozen.
        data: the microbatches, or whole batches.
        size: the maximum number of prompt pairs in a microbatch; ``None`` for no maximum.
        passes: the number of passes, forward or backward, that are made on each microbatch.
    """
    plain = split_microbatches(data, size)
    if model.run_constraints.whole_batches:
        return plain
    cost = PassCost(passes, PASS_OVERHEAD.get(model.device.type, ACCELERATOR_OVERHEAD))
    shared = split_by_prefix(data, size, cost)
    unchecked = [check for check in _checks(shared) if _shape(*check) not in model.prefix_faults]
    checking = sum(2 * (cost.overhead + prompts.tokens.shape[1]) for prompts, _ in unchecked)
    if cost.total(shared) + checking >= cost.total(plain):
        return plain
    faults = [prefix_fault(model, *check) for check in _checks(shared)]
    return plain if any(faults) else shared


def prefix_fault(model: ResidualModel, prompts: Prompts, n_prefix: int) -> str:
    """Say why the runs of a model cannot share prefixes; empty if they can. For ``model.run``.

    The answer is kept in the model for prompts of the same shape.

    Args:
        model: the model, frozen.
        prompts: the prompts to check on.
        n_prefix: the number of their positions to run as a prefix.
    """
    shape = _shape(prompts, n_prefix)
    if shape not in model.prefix_faults:
        with torch.no_grad():
            model.prefix_faults[shape] = _fault(model, prompts.to(model.device), n_prefix)
    return model.prefix_faults[shape]


def _fault(model: ResidualModel, prompts: Prompts, n_prefix: int) -> str:
    first, rest = prompts.split(n_prefix)
    try:
        prefix = model.prefix(first)
        if prefix is None:
            return "its keys and values cannot be kept"
        found = model.forward(replace(rest, prefix=prefix), {})
    except Exception as error:
        reason = str(error).partition("\n")[0]
        return f"prompts that continue from a prefix fail ({type(error).__name__}: {reason})"
    want = model.forward(prompts, {})
    allowed = torch.finfo(want.dtype).eps ** 0.5
    size = want.pow(2).mean(-1, keepdim=True).sqrt() + want.abs() + found.abs()
    residue = float(((found - want).abs() / size.clamp_min(torch.finfo(want.dtype).tiny)).max())
    if residue <= allowed:
        return ""
    return f"prompts that continue from a prefix give other logits (residue {residue:.2g}, allowed {allowed:.2g})"


def _checks(parts: Sequence[Microbatch]) -> list[tuple[Prompts, int]]:
    """Return the prompts to check on, each with the length of its prefix."""
    shared = sorted((piece for piece in parts if piece.n_prefix), key=lambda piece: piece.n_prefix)
    if not shared:
        return []
    padding = [(~piece.batch.real).sum(1) for piece in shared]
    most = max(range(len(shared)), key=lambda index: int(padding[index].max()))
    chosen = []
    for index in sorted({0, most, len(shared) - 1}):
        row = int(padding[index].argmax())
        chosen.append((shared[index].batch.clean_prompts.select(slice(row, row + 1)), shared[index].n_prefix))
    return chosen


def _shape(prompts: Prompts, n_prefix: int) -> tuple[int, int, bool]:
    """Return what a check depends on: the lengths of the prompts and of their prefix, and whether they are padded."""
    return prompts.tokens.shape[1], n_prefix, prompts.attention_mask is not None
