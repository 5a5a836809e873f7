"""Scores of edges, nodes and neurons, and what they would cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, overload

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.api.resolve import resolve
from eap_plugin.data.microbatches import microbatches
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.metric.metric import Judge, Metric
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.results.loading import scores_of
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.runner.cost_estimate import Estimate, estimate
from eap_plugin.runner.finite import metric_fault
from eap_plugin.runner.provenance import provenance, run_digest
from eap_plugin.runner.requests import RequestCache, run_requests, split_requests


@overload
def prune_scores(model: object, data: object, *, level: Literal["edge"] = "edge", **arguments: Any) -> PruneScores: ...


@overload
def prune_scores(model: object, data: object, *, level: Literal["node", "neuron"], **arguments: Any) -> NodeScores: ...


def prune_scores(
    model: object,
    data: object,
    *,
    algorithm: str | Algorithm[Any] = "eap",
    metric: str | Metric | Judge = "logit_diff",
    batch_size: int | None = None,
    ablation_data: object = None,
    progress: Callable[[int, int], None] | None = None,
    remote: bool | str = False,
    timeout: float | None = None,
    status: Callable[[str], None] | None = None,
    prompts_per_request: int | None = None,
    parts: str | Path | None = None,
    resume: bool = False,
    **options: Any,
) -> PruneScores | NodeScores:
    """Score every edge of a model on a task, or with ``level="node"`` or ``level="neuron"`` every writer.

    Args:
        model: from ``load_model``, or a ``TransformerBridge``, ``HookedTransformer``, nnsight model or AutoCircuit
            ``PatchableModel`` as it stands.
        data: a ``Task``, or any iterable of batches with ``clean``, ``corrupt`` [batch, pos], ``answers`` and
            ``wrong_answers`` [batch, n]. The metric is averaged over a batch and batches add up; a task is one batch.
        algorithm: a name of ``algorithms()``, or an algorithm itself.
        metric: see ``metrics()``, or a function of (logits [batch, vocab], batch) giving one number per prompt.
        batch_size: run at most so many prompt pairs at a time; changes memory and speed, not scores.
        ablation_data: another task, or batches of any kind as for ``data``, over whose corrupt prompts the ablations
            ``mean`` and ``mean-per-position`` take means; by default those of ``data``.
        progress: called with the number of prompt pairs done and their total.
        remote: run where the weights are, as one request that brings back scores: true for NDIF or the host that
            nnsight is configured for, ``"http://host:port"``, or ``"local"`` for a simulation in this process.
        timeout: how many seconds to wait for a request's result; by default as long as it takes.
        status: told in a few words how a request is getting on; by default nnsight shows it.
        prompts_per_request: run at most so many prompt pairs in a request, and add up.
        parts: a folder in which finished requests' scores are kept until all are done.
        resume: take from ``parts`` what an interrupted run with the same arguments finished.
        **options: the algorithm's own; ``eap algorithms NAME`` lists them.

    Raises:
        UsageError: if a name, an option or the data is wrong.
        EapPluginError: if the self-check fails on this model, naming the layer and the number; if the algorithm gives
            what are no scores of this model, or leaves it changed, naming its plugin.
    """
    run = resolve(
        model,
        data,
        algorithm=algorithm,
        metric=metric,
        batch_size=batch_size,
        options=options,
        ablation_data=ablation_data,
        remote=RemoteOptions(remote, timeout, status),
    )
    if resume and parts is None:
        raise UsageError("resume goes on from what is kept in parts; give that folder, too")
    run.model.run_constraints.check_batch_size(batch_size if prompts_per_request is None else prompts_per_request)
    about = provenance(run)
    split_up = split_requests(run.batches, prompts_per_request, run.reference, run.algorithm)
    kept = None
    if parts is not None:
        kept = RequestCache(Path(parts), run_digest(run, about, prompts_per_request), len(split_up))
        if not resume:
            kept.remove()
    found = run_requests(run, split_up, progress, kept)
    if fault := metric_fault(run.metric, found.clean_metric, found.corrupt_metric):
        raise EapPluginError(fault)
    about |= {"clean_metric": found.clean_metric, "corrupt_metric": found.corrupt_metric}
    if run.model.remote:
        about["remote"] = run.model.remote.record()
    if kept:
        kept.remove()
    return scores_of(found.level, found.graph, found.matrix, about)


def estimate_cost(
    model: object,
    data: object,
    *,
    algorithm: str | Algorithm[Any] = "eap",
    metric: str | Metric | Judge = "logit_diff",
    batch_size: int | None = None,
    **options: Any,
) -> Estimate:
    """How long ``prune_scores`` would take with the same arguments, from one pass timed here."""
    run = resolve(model, data, algorithm=algorithm, metric=metric, batch_size=batch_size, options=options)
    cost = run.algorithm.cost(run.options, run.model.graph)
    return run.model.run(estimate, microbatches(run.batches, batch_size), run.metric, cost)
