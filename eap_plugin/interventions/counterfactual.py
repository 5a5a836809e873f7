"""The counterfactual value of each writer: its output on the corrupt prompt, zero, or a mean.

A mean is computed once, before scoring starts, over the corrupt prompts of the data or of another task.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch, Reference
from eap_plugin.errors import UsageError
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.model.residual_model import ResidualModel

Ablation = Literal["corrupt", "zero", "mean", "mean-per-position"]


def ablation_passes(ablation: Ablation) -> int:
    """Return the number of forward passes on each microbatch's corrupt prompts that an ablation needs.

    With a mean over another task, the passes are over that task's prompts instead.
    """
    return 0 if ablation == "zero" else 1


class Counterfactual:
    """The counterfactual values of all writers, for one kind of ablation.

    Attributes:
        corrupt: true if they come from a run on the corrupt prompts, which each algorithm does itself; false if they
            are constants, which ``constant`` returns.
    """

    def __init__(self, model: ResidualModel, data: Sequence[Microbatch], ablation: Ablation) -> None:
        """Compute the mean over the reference prompts, if the ablation is one.

        Args:
            model: the model.
            data: the prompt pairs; a mean is over the corrupt prompts of their ``reference``, or of ``data``
                itself if that is empty.
            ablation: what replaces the output of writers.

        Raises:
            UsageError: if the mean is per position and prompts differ in length.
        """
        self.corrupt = ablation == "corrupt"
        self._constant: Writers | None = None
        if ablation == "zero":
            self._constant = _zero(model)
        elif not self.corrupt:
            reference = data[0].reference or Reference(piece.batch for piece in data)
            if ablation == "mean-per-position":
                _require_equal_length(data, reference)
            if ablation not in reference.means:
                reference.means[ablation] = _mean(model, reference, ablation == "mean-per-position")
            self._constant = reference.means[ablation]

    def constant(self, batch: Batch) -> Writers:
        """Return the constant outputs, zero or a mean, of every writer, expanded to the shape of ``batch``."""
        assert self._constant is not None
        shape = batch.clean.shape
        return _combine(self._constant, self._constant, lambda x, _: x.expand(*shape, *x.shape[2:]))


def _zero(model: ResidualModel) -> Writers:
    """Return zeros for one position of one prompt: tensors of shape [1, 1, ...]."""
    n_heads, d_head, d_model = model.layers[0].W_O.shape
    like = model.layers[0].W_O
    layers = range(model.graph.n_layers)
    return Writers(
        like.new_zeros(1, 1, d_model),
        [like.new_zeros(1, 1, n_heads, d_head) for _ in layers],
        [like.new_zeros(1, 1, d_model) for _ in layers if model.graph.has_mlp],
    )


def _require_equal_length(data: Sequence[Microbatch], reference: Reference) -> None:
    expected = data[0].batch.clean.shape[1]
    for batch in reference.batches:
        if batch.corrupt.shape[1] != expected:
            raise UsageError(
                f"ablation 'mean-per-position' needs prompts of equal length, got {expected} and "
                f"{batch.corrupt.shape[1]} tokens; use ablation=mean"
            )


def _mean(model: ResidualModel, reference: Reference, per_position: bool) -> Writers:
    """Return the mean over real tokens, or over prompts at each position: tensors of shape [1, 1 or pos, ...]."""
    total: Writers | None = None
    count: Tensor | None = None
    dims = (0,) if per_position else (0, 1)
    for batch in (part.to(model.device) for part in reference.split()):
        recorder = WriterRecorder(model)
        with torch.no_grad():
            model.forward(batch.corrupt_prompts, recorder.visitors())
        real = batch.corrupt_prompts.real.to(model.score_dtype)
        run = recorder.writers()
        added = _combine(run, run, partial(_sum_real, real, dims))
        here = real.sum(dims, keepdim=True)
        total = added if total is None else _combine(total, added, torch.add)
        count = here if count is None else count + here
    assert total is not None
    assert count is not None
    n = count.clamp_min(1)
    return _combine(total, total, lambda x, _: x / n.view(*n.shape, *[1] * (x.ndim - 2)))


def _sum_real(real: Tensor, dims: tuple[int, ...], x: Tensor, _: Tensor) -> Tensor:
    return (x.to(real.dtype) * real.view(*real.shape, *[1] * (x.ndim - 2))).sum(dims, keepdim=True)


def _combine(a: Writers, b: Writers, combine: Callable[[Tensor, Tensor], Tensor]) -> Writers:
    return Writers(
        combine(a.embed, b.embed),
        [combine(x, y) for x, y in zip(a.z, b.z, strict=True)],
        [combine(x, y) for x, y in zip(a.mlp, b.mlp, strict=True)],
    )
