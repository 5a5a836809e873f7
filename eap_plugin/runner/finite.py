"""Finding out why scores are not finite: the model's logits, the metric, or the metric's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import torch
from torch import Tensor

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.nan_weights import nan_weights
from eap_plugin.runner.performance import performance


def metric_fault(metric: Metric, clean: float | None, corrupt: float | None) -> str | None:
    """Return a message if the metric on clean or corrupt prompts is not finite; ``None`` if both are or are unknown."""
    if isfinite(clean or 0) and isfinite(corrupt or 0):
        return None
    return (
        f"metric {metric.name!r} is {_shown(clean)} on the clean and {_shown(corrupt)} on the corrupt prompts; "
        f"it must be a finite number on both"
    )


def cause(model: ResidualModel, data: Sequence[Microbatch], metric: Metric) -> str | None:
    """Find the cause of scores that are not finite; ``None`` if it is the algorithm itself. For ``model.run``."""
    for name in ("clean", "corrupt"):
        if any(_logits(model, piece.batch, name).isnan().any() for piece in data):
            if found := nan_weights(model):
                return f"{model.name} gives NaN: {found}"
            return (
                f"{model.name} ({model.dtype}) gives NaN logits on the {name} prompts; load it in "
                f"float32 if it is in half precision, or choose other prompts"
            )
    if fault := metric_fault(metric, *performance(model, data, metric)):
        return fault
    for name in ("clean", "corrupt"):
        if any(_has_infinite_gradient(model, piece.batch, name, metric) for piece in data):
            return (
                f"the gradient of metric {metric.name!r} is not finite on the {name} prompts, though its value is; "
                f"use a metric that is differentiable there (sqrt and log are not at 0)"
            )
    return None


def _has_infinite_gradient(model: ResidualModel, batch: Batch, name: str, metric: Metric) -> bool:
    with torch.enable_grad():
        logits = _logits(model, batch, name).requires_grad_()
        value = metric(logits, batch.to(model.device))
        if not value.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(value, logits)
    return not bool(gradient.isfinite().all())


def _logits(model: ResidualModel, batch: Batch, name: str) -> Tensor:
    batch = batch.to(model.device)
    with torch.no_grad():
        return model.forward(batch.clean_prompts if name == "clean" else batch.corrupt_prompts, {})


def _shown(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4g}"
