"""The performance of the unchanged model on a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from eap_plugin.data.microbatches import Microbatch, mean_by_share, split_microbatches
from eap_plugin.metric.metric import Metric
from eap_plugin.model.prefix import with_prefix
from eap_plugin.model.residual_model import ResidualModel


def performance(model: ResidualModel, parts: Sequence[Microbatch], metric: Metric) -> tuple[float, float]:
    """Compute the metric on the clean and on the corrupt prompts, averaged over batches."""
    clean, corrupt = [], []
    for part in parts:
        batch = with_prefix(model, part)
        with torch.no_grad():
            clean.append(float(metric(model.forward(batch.clean_prompts, {}), batch)))
            corrupt.append(float(metric(model.forward(batch.corrupt_prompts, {}), batch)))
    shares = [part.share for part in parts]
    return mean_by_share(clean, shares), mean_by_share(corrupt, shares)


def with_clean_logits(model: ResidualModel, data: Sequence[Microbatch], size: int | None) -> list[Microbatch]:
    """Add the unchanged model's clean logits to every batch, running at most ``size`` prompt pairs at a time."""
    out = []
    for piece in data:
        parts = [part.batch.to(model.device) for part in split_microbatches([piece], size)]
        with torch.no_grad():
            logits = torch.cat([model.forward(part.clean_prompts, {}) for part in parts])
        out.append(piece._replace(batch=replace(piece.batch, clean_logits=logits)))
    return out
