"""How much of a behaviour a circuit keeps: every edge outside it carries its corrupt value."""

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
    """How much of the behaviour each circuit alone preserves.

    All edges outside the circuit carry their corrupt value; the result is
    (metric of that − metric on corrupt) / (metric on clean − metric on corrupt): 1 for the whole model, 0 for nothing.

    Args:
        model: the model.
        batches: the prompt pairs.
        metric: what is to be preserved.
        circuits: for each circuit, true at its edges.
        batch_size: at most so many prompt pairs at a time.

    Raises:
        UsageError: if a circuit is not a boolean matrix of this model's edges, or the metric is the same on clean and
            corrupt prompts.
    """
    if any(circuit.dtype != torch.bool for circuit in circuits):
        raise UsageError("a circuit is a boolean matrix, true at its edges, as circuits.evaluation.strongest gives")
    clean, corrupt, *kept = model.run(_circuit_metrics, batches, metric, circuits, batch_size)
    if clean == corrupt:
        raise UsageError(f"the metric {metric.name!r} is {clean:.4g} on clean and corrupt prompts alike")
    return [(value - corrupt) / (clean - corrupt) for value in kept]


def _circuit_metrics(
    model: ResidualModel,
    batches: Sequence[Batch],
    metric: Metric,
    circuits: Sequence[Bool[Tensor, "sources readers"]],
    batch_size: int | None,
) -> list[float]:
    """The metric on clean prompts, on corrupt prompts, and with each circuit alone."""
    totals = [0.0] * (2 + len(circuits))
    with torch.no_grad():
        for batch, share, _ in microbatches(batches, batch_size):
            metrics = _piece_metrics(model, batch.to(model.device), metric, circuits)
            totals = [total + share * value for total, value in zip(totals, metrics, strict=True)]
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
    """The circuit of the strongest edges: a ``fraction`` of all, by absolute score, rounded up."""
    if not 0 <= fraction <= 1:
        raise UsageError(f"a fraction of edges is between 0 and 1, got {fraction}")
    flat = scores.sum_positions()
    keep = torch.zeros(flat.matrix.shape, dtype=torch.bool)
    for edge in flat.top(ceil(fraction * flat.n_edges - 1e-9)):
        keep[flat.graph.edge(edge.name)] = True
    return keep
