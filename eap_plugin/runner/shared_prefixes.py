"""Whether the runs of a model may share prefixes, and the microbatches that do.

Sharing is refused unless the model gives the same logits from a prefix's keys and values as from whole prompts. This is
checked on prompts of the run itself, before any scores are computed:

1. ``split_for`` splits the data by the positions that clean and corrupt prompts have in common.
2. If that saves more than the checks cost, one prompt each is checked with the shortest and the longest prefix, and the
   one with most padding in its prefix. A model whose keys depend on the length of the prompt, as with scaled rotary
   embeddings, fails at one of the two lengths if it fails at any between them.
3. If the logits differ by more than rounding, or the model cannot run this way, whole prompts are run instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from eap_plugin.data.common_prefix import PassCost, split_by_prefix
from eap_plugin.data.microbatches import Microbatch, split_microbatches
from eap_plugin.data.prompts import Prompts
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.self_check.self_check import CheckReport, self_check

PASS_OVERHEAD = {"cpu": 30}
"""By type of device, the tokens that could be run in the time that a pass takes besides its tokens (``PassCost``).

Measured on GPT-2 small's shape with one thread: some 37 for a forward and 17 for a backward pass.
"""

ACCELERATOR_OVERHEAD = 2000
"""The same for all other devices, by estimate: where passes are bound by kernel launches, tokens cost little."""


@dataclass(frozen=True)
class Sharing:
    """How an algorithm may share prefixes.

    Attributes:
        passes: the number of passes on each microbatch that may continue from a prefix; 0 to share none.
        in_order: whether batches must be split as without prefixes.
        count_checks: whether prefixes must save more than their checks cost. If not, how prompts are split depends on
            them alone, and not on what was checked before.
    """

    passes: int
    in_order: bool = False
    count_checks: bool = True


def split_for(model: ResidualModel, data: Sequence[Microbatch], size: int | None, sharing: Sharing) -> list[Microbatch]:
    """Split microbatches, with prefixes where these save work and are right for this model; for ``model.run``.

    Args:
        model: the model, frozen.
        data: the microbatches, or whole batches.
        size: the maximum number of prompt pairs in a microbatch; ``None`` for no maximum.
        sharing: how the algorithm may share prefixes.
    """
    plain = split_microbatches(data, size)
    if not sharing.passes or model.run_constraints.whole_batches:
        return plain
    cost = PassCost(sharing.passes, PASS_OVERHEAD.get(model.device.type, ACCELERATOR_OVERHEAD))
    shared = split_by_prefix(data, size, cost, sharing.in_order)
    unchecked = [check for check in _checks(shared) if sharing.count_checks and _is_new(model, *check)]
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


def check_with_prefix(model: ResidualModel, prompts: Prompts) -> CheckReport:
    """Make the self-check, and find out whether runs can continue from a prefix of half the prompt; for ``model.run``.

    Args:
        model: the model, frozen.
        prompts: one or more prompts.
    """
    report = self_check(model, prompts)
    last = prompts.tokens.shape[1] - 1 if prompts.last is None else int(prompts.last.min())
    if not report.ok or last < 2 or model.run_constraints.n_prefix:
        return report
    return replace(report, prefix_fault=prefix_fault(model, prompts, last // 2))


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
    padding = [_masked(piece) for piece in shared]
    most = max(range(len(shared)), key=lambda index: int(padding[index].max()))
    chosen = []
    for index in sorted({0, most, len(shared) - 1}):
        row = int(padding[index].argmax())
        chosen.append((shared[index].batch.clean_prompts.select(slice(row, row + 1)), shared[index].n_prefix))
    return chosen


def _is_new(model: ResidualModel, prompts: Prompts, n_prefix: int) -> bool:
    return _shape(prompts, n_prefix) not in model.prefix_faults


def _masked(piece: Microbatch) -> Int[Tensor, "batch"]:
    """Count the padding in each pair's prefix; 0 where all of it is padding, so that its keys do not matter."""
    masked = (~piece.batch.real[:, : piece.n_prefix]).sum(1)
    return torch.where(masked == piece.n_prefix, 0, masked)


def _shape(prompts: Prompts, n_prefix: int) -> tuple[int, int, bool]:
    """Return what a check depends on: the lengths of the prompts and of their prefix, and whether they are padded."""
    return prompts.tokens.shape[1], n_prefix, prompts.attention_mask is not None
