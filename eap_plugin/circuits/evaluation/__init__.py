"""Faithfulness: how much of a behaviour a circuit preserves on its own.

The model runs on the clean prompts with every edge outside the circuit patched to its value on the corrupt prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import microbatches
from eap_plugin.errors import UsageError
from eap_plugin.interventions.edge_patching import EdgePatch
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.results.prune_scores import PruneScores


def faithfulness(
    model: ResidualModel,
    batches: Sequence[Batch],
    metric: Metric,
    circuits: Sequence[Bool[Tensor, "sources readers"]],
    batch_size: int | None = None,
) -> list[float]:
    """Measure how much of the behaviour each circuit preserves on its own.

    With every edge outside the circuit patched to its corrupt value, the result is

        (metric(circuit) − metric(corrupt)) / (metric(clean) − metric(corrupt)):

    1 if the circuit is the whole model, 0 if it is empty.

    Args:
        model: the model.
        batches: the prompt pairs.
        metric: the measure of the behaviour.
        circuits: one boolean matrix per circuit, true at its edges.
        batch_size: the most prompt pairs to run at a time; ``None`` for whole batches.

    Raises:
        UsageError: if a circuit is not a boolean matrix of this model's edges, or the metric is the same on clean and
            corrupt prompts.
    """
    if any(circuit.dtype != torch.bool for circuit in circuits):
        raise UsageError(
            "a circuit must be a boolean matrix, true at its edges; circuits.evaluation.strongest makes one"
        )
    clean, corrupt, *kept = model.run(_circuit_metrics, batches, metric, circuits, batch_size)
    if clean == corrupt:
        raise UsageError(
            f"the metric {metric.name!r} is {clean:.4g} on both clean and corrupt prompts, so faithfulness is "
            f"undefined; choose a metric or prompts that tell them apart"
        )
    return [(value - corrupt) / (clean - corrupt) for value in kept]


def _circuit_metrics(
    model: ResidualModel,
    batches: Sequence[Batch],
    metric: Metric,
    circuits: Sequence[Bool[Tensor, "sources readers"]],
    batch_size: int | None,
) -> list[float]:
    """Return the metric on the clean prompts, on the corrupt prompts, and with each circuit alone."""
    totals = [0.0] * (2 + len(circuits))
    with torch.no_grad():
        for piece in microbatches(batches, batch_size):
            metrics = _piece_metrics(model, piece.batch.to(model.device), metric, circuits)
            totals = [total + piece.share * value for total, value in zip(totals, metrics, strict=True)]
    return [total / len(batches) for total in totals]


def _piece_metrics(
    model: ResidualModel, batch: Batch, metric: Metric, circuits: Sequence[Bool[Tensor, "sources readers"]]
) -> list[float]:
    recorder = WriterRecorder(model)
    corrupt = model.forward(batch.corrupt_prompts, recorder.visitors())
    clean = model.forward(batch.clean_prompts, {})
    patches = [EdgePatch(model, recorder.writers(), (~circuit).float()) for circuit in circuits]
    runs = [model.forward(batch.clean_prompts, patch.visitors()) for patch in patches]
    judged = replace(batch, clean_logits=clean)
    return [float(metric(logits, judged)) for logits in (clean, corrupt, *runs)]


def strongest(scores: PruneScores, fraction: float) -> Bool[Tensor, "sources readers"]:
    """Return the circuit of the edges with the largest absolute scores.

    Args:
        scores: the scores of all edges; those kept per position are summed over positions first.
        fraction: the share of all edges to keep, between 0 and 1; the number of edges is rounded up.

    Raises:
        UsageError: if ``fraction`` is not between 0 and 1.
    """
    if not 0 <= fraction <= 1:
        raise UsageError(f"fraction must be between 0 and 1, got {fraction}")
    flat = scores.sum_positions()
    keep = torch.zeros(flat.matrix.shape, dtype=torch.bool)
    for edge in flat.top(ceil(fraction * flat.n_edges - 1e-9)):
        keep[flat.graph.edge(edge.name)] = True
    return keep
