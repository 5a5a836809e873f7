"""How well the unchanged model does a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.batch import Batch, Piece, cut
from eap_plugin.metric.metric import Metric
from eap_plugin.residual import ResidualModel


def performance(model: ResidualModel, parts: Sequence[Piece], metric: Metric) -> tuple[float, float]:
    """The metric on the clean and the corrupt prompts, averaged over batches."""
    clean, corrupt = 0.0, 0.0
    for part, share, _ in parts:
        batch = part.to(model.device)
        with torch.no_grad():
            clean += share * float(metric(last_logits(model, batch, batch.clean), batch))
            corrupt += share * float(metric(last_logits(model, batch, batch.corrupt), batch))
    total = sum(part.share for part in parts)
    return clean / total, corrupt / total


def with_clean_logits(model: ResidualModel, data: Sequence[Piece], size: int | None) -> list[Piece]:
    """The pieces with the logits of the unchanged model, run at most ``size`` prompt pairs at a time."""
    out = []
    for piece in data:
        parts = [part.batch.to(model.device) for part in cut([piece], size)]
        with torch.no_grad():
            logits = torch.cat([last_logits(model, part, part.clean) for part in parts])
        out.append(piece._replace(batch=replace(piece.batch, clean_logits=logits)))
    return out


def last_logits(model: ResidualModel, batch: Batch, tokens: Int[Tensor, "batch pos"]) -> Float[Tensor, "batch vocab"]:
    """The logits at each prompt's last position; ``tokens`` are the batch's clean or corrupt ones."""
    return model.forward(tokens, {}, attention_mask=batch.attention_mask, last=batch.last)
