"""Runs of circuits on one microbatch: one metric per run and prompt. ``runner.evaluation`` runs all microbatches.

The model runs on the corrupt and on the clean prompts, and then once for each circuit, from the side with fewer edges
(``interventions.circuit_patch``). The whole model and the empty circuit are known from the two runs; on the first
prompts, both are also computed edge by edge, so that an evaluation whose patching does not reproduce the model is never
reported.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.interventions.circuit_patch import CircuitPatch
from eap_plugin.interventions.counterfactual import Counterfactual
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.interventions.workspace import Buffers
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.prefix import with_prefix
from eap_plugin.model.residual_model import ResidualModel

_CHECKED = 2
"""The number of prompts on which the whole model and the empty circuit are computed edge by edge."""


@dataclass(frozen=True)
class PatchedRun:
    """One run to evaluate.

    Attributes:
        graph: the graph of the edges: the model's, or the same with one k and one v reader for each query head.
        edges: the edges of the circuit.
        neurons: the dimensions of each writer's output that are in the circuit; all if ``None``.
        complement: patch the circuit, and nothing else; if false, patch everything else.
    """

    graph: Graph
    edges: Bool[Tensor, "sources readers"]
    neurons: Bool[Tensor, "sources d_model"] | None = None
    complement: bool = False


@dataclass(frozen=True)
class Measured:
    """The metric of every run, in float64.

    Attributes:
        clean: the model on the clean prompts.
        corrupt: the model on the corrupt prompts.
        empty: the circuit without edges: every writer has its counterfactual value.
        circuits: one row for each run.
        per_prompt: whether the metric gives one number per prompt; if not, each prompt has the mean of its microbatch.
        whole_error: the largest difference between the model's logits and those of the circuit of all edges, computed
            edge by edge, over the standard deviation of the model's logits.
        empty_error: the same for the empty circuit: every edge patched, compared with every writer replaced.
    """

    clean: Float[Tensor, "prompts"]
    corrupt: Float[Tensor, "prompts"]
    empty: Float[Tensor, "prompts"]
    circuits: Float[Tensor, "runs prompts"]
    per_prompt: bool
    whole_error: float
    empty_error: float


def measure_piece(
    model: ResidualModel,
    piece: Microbatch,
    runs: Sequence[PatchedRun],
    metric: Metric,
    counterfactual: Counterfactual,
    progress: Callable[[], None],
) -> Float[Tensor, "rows *prompts"]:
    """Compute the metric on one microbatch; for ``model.run``, without gradients.

    Args:
        model: the model, frozen.
        piece: the prompt pairs.
        runs: the circuits.
        metric: the metric.
        counterfactual: what flows along edges that are not in the circuit.
        progress: called after every run of a circuit.

    Returns:
        One row each for the clean, the corrupt and the empty run, and for every circuit; [rows] if the metric gives
        only a mean.
    """
    batch = with_prefix(model, piece)
    reference = Reference(model, batch, counterfactual)
    clean = model.forward(batch.clean_prompts, {})
    batch = replace(batch, clean_logits=clean)
    empty = reference.corrupt if counterfactual.corrupt else reference.patched(_nothing(model.graph), keep=True)
    values = [metric.values(logits, batch) for logits in (clean, reference.corrupt, empty)]
    for run in runs:
        known = _known(run)
        values.append(metric.values(reference.run(run), batch) if known is None else values[known])
        progress()
    return torch.stack([value.double().cpu() for value in values])


def _known(run: PatchedRun) -> int | None:
    """Return the place of the clean (0) or empty (2) run if this run is the same; else ``None``."""
    n_edges = int(run.edges.sum())
    if n_edges == 0:
        return 0 if run.complement else 2
    if n_edges == run.graph.n_edges and run.neurons is None:
        return 2 if run.complement else 0
    return None


class Reference:
    """The counterfactual values of one microbatch, and runs of circuits against them.

    Attributes:
        corrupt: the logits on the corrupt prompts.
    """

    def __init__(self, model: ResidualModel, batch: Batch, counterfactual: Counterfactual) -> None:
        """Run the corrupt prompts; ``batch`` is on the model's device."""
        self._model, self._batch, self._buffers = model, batch, Buffers()
        self._start = batch.first_difference - batch.n_prefix if counterfactual.corrupt else 0
        recorder = WriterRecorder(model, self._start)
        self.corrupt = model.forward(batch.corrupt_prompts, recorder.visitors() if counterfactual.corrupt else {})
        self._other: Writers = recorder.writers() if counterfactual.corrupt else counterfactual.constant(batch)

    def run(self, run: PatchedRun) -> Float[Tensor, "batch vocab"]:
        """Return the logits of a run, from the side with fewer edges."""
        if run.neurons is None and 2 * int(run.edges.sum()) > run.graph.n_edges:
            return self.patched(replace(run, edges=edge_mask(run.graph) & ~run.edges), keep=run.complement)
        return self.patched(run, keep=not run.complement)

    def patched(self, run: PatchedRun, keep: bool) -> Float[Tensor, "batch vocab"]:
        """Return the logits with a circuit's edges kept or patched."""
        neurons = None if run.neurons is None else run.neurons.to(self._model.device)
        edges = run.edges.to(self._model.device)
        patch = CircuitPatch(
            self._model, run.graph, self._other, edges, neurons, keep=keep, start=self._start, buffers=self._buffers
        )
        prompts = self._batch.clean_prompts
        logits = self._model.forward(prompts.repeat(patch.copies) if patch.copies > 1 else prompts, patch.visitors())
        return logits[: len(prompts)]


def reproduction_errors(model: ResidualModel, piece: Microbatch, counterfactual: Counterfactual) -> tuple[float, float]:
    """Compute the whole model from kept edges and the empty circuit from patched ones; return the relative errors."""
    if not model.run_constraints.whole_batches:
        piece = piece._replace(batch=piece.batch.select(slice(0, _CHECKED)))
    batch = with_prefix(model, piece)
    reference = Reference(model, batch, counterfactual)
    everything = PatchedRun(model.graph, edge_mask(model.graph))
    clean = model.forward(batch.clean_prompts, {})
    empty = reference.corrupt if counterfactual.corrupt else reference.patched(_nothing(model.graph), keep=True)
    return (
        _relative_error(reference.patched(everything, keep=True), clean),
        _relative_error(reference.patched(everything, keep=False), empty),
    )


def _relative_error(found: Float[Tensor, "batch vocab"], expected: Float[Tensor, "batch vocab"]) -> float:
    """Return the largest difference over the standard deviation of the expected logits."""
    found, expected = found.double(), expected.double()
    return float((found - expected).abs().max() / expected.std().clamp_min(torch.finfo(torch.float64).tiny))


def _nothing(graph: Graph) -> PatchedRun:
    return PatchedRun(graph, torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool))
