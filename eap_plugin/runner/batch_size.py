"""The number of prompt pairs to run at once, chosen by the memory that is free.

1. If there are few prompts, and a bound on what they need (``memory_bound``) is a small part of the free memory, all of
   a batch run together.
2. Otherwise one prompt is run, and what autograd keeps of it is counted (``measured_memory``). Prompts are then run in
   microbatches whose activations take at most half of the free memory. On a CPU they take no more than the weights or
   ``CPU_ACTIVATIONS``, either, since larger ones are slower: fresh pages cost more than longer products gain.
3. If memory runs out all the same, ``runner.fitting`` halves the microbatches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

import torch
from torch import Tensor

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.interventions.recording import GradientRecorder
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.free_memory import free_memory

CPU_ACTIVATIONS = 2**29
"""Bytes of activations on a CPU up to which larger microbatches are not slower."""

FEW_PROMPTS = 64
"""The most prompts for which it does not pay to run one more in order to measure its memory."""

_TOKEN_WIDTHS = 60
"""A bound on the numbers that a layer keeps per token, as a multiple of d_model: both runs and the gradients."""

_PATTERN_COPIES = 4
"""A bound on the copies that a layer keeps of its attention patterns, if attention is not fused."""

_OVER_SAVED = 2.0
"""The memory that a run needs, in units of what autograd keeps: writers of both runs, gradients, temporary tensors."""


@dataclass(frozen=True)
class FittingSize:
    """The number of prompt pairs that fits in memory, in place of a fixed number.

    Attributes:
        max_memory: the most bytes that activations may take; ``None`` for what is free.
    """

    max_memory: int | None = None


def fitting_size(model: ResidualModel, data: Sequence[Microbatch], metric: Metric, size: FittingSize) -> int | None:
    """Return the most prompt pairs to run at once; ``None`` if whole batches fit. This may run the model on one prompt.

    Args:
        model: the model.
        data: the prompt pairs.
        metric: the metric, whose gradient is part of the measurement.
        size: the limit on memory.
    """
    most = max(len(piece.batch) for piece in data)
    free = min(_free(model), size.max_memory or 2**62)
    needed = max(memory_bound(model, piece.batch) for piece in data)
    if most == 1 or (most <= FEW_PROMPTS and needed <= free / 2):
        return None
    longest = max((piece.batch for piece in data), key=lambda batch: batch.clean.shape[1])
    return max(1, min(most, int(_budget(model, free) / measured_memory(model, longest, metric))))


def balanced(n_prompts: int, most: int) -> int:
    """Return the size of as few microbatches as possible of at most ``most`` prompts, about equally large."""
    return ceil(n_prompts / ceil(n_prompts / most))


def memory_bound(model: ResidualModel, batch: Batch) -> int:
    """Return bytes that a batch's activations do not exceed, from the numbers of layers, heads, widths and tokens."""
    graph, d_model = model.graph, model.layers[0].W_O.shape[-1]
    n_prompts, n_pos = batch.clean.shape
    per_token = graph.n_layers * (_TOKEN_WIDTHS * d_model + _PATTERN_COPIES * graph.n_heads * n_pos)
    return n_prompts * (n_pos * per_token + 4 * model.n_vocab) * _item_size(model)


def measured_memory(model: ResidualModel, batch: Batch, metric: Metric) -> float:
    """Return the bytes that a prompt pair of a batch needs, from what autograd keeps of one forward pass."""
    one = batch.select(slice(0, 1)).to(model.device)
    weights = {_storage(p) for module in model.modules() for p in module.parameters()}
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        storage = _storage(tensor)
        if storage not in weights:
            kept[storage] = max(kept.get(storage, 0), tensor.untyped_storage().nbytes())
        return tensor

    recorder = GradientRecorder(model)
    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, _unchanged):
        logits = model.forward(one.clean_prompts, recorder.visitors())
        loss = metric(logits, replace(one, clean_logits=logits.detach()))
    del loss
    return _OVER_SAVED * (sum(kept.values()) + 2 * logits.numel() * _item_size(model))


def _budget(model: ResidualModel, free: int) -> float:
    """Return the bytes that the activations of a microbatch may take."""
    if model.device.type != "cpu":
        return free / 2
    weights = {_storage(p): p.numel() * p.element_size() for module in model.modules() for p in module.parameters()}
    return min(free / 2, max(CPU_ACTIVATIONS, sum(weights.values())))


def _free(model: ResidualModel) -> int:
    devices = {parameter.device for module in model.modules() for parameter in module.parameters()}
    return min(free_memory(device) for device in {*devices, model.device} if device.type != "meta")


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _item_size(model: ResidualModel) -> int:
    return model.score_dtype.itemsize


def _unchanged(tensor: Tensor) -> Tensor:
    return tensor
