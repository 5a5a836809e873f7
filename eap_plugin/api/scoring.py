"""Score edges, nodes and neurons, or estimate what scoring them would cost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, overload

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.api.batch_size import BatchSize
from eap_plugin.api.resolve import resolve
from eap_plugin.data.microbatches import microbatches
from eap_plugin.data.prompt_groups import group_weights
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.metric.metric import Judge, Metric
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.results.loading import scores_of
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.runner.cost_estimate import Estimate, estimate
from eap_plugin.runner.finite import metric_fault
from eap_plugin.runner.provenance import provenance, run_identity
from eap_plugin.runner.ranks import Ranks, ranks_for
from eap_plugin.runner.request_cache import RequestCache
from eap_plugin.runner.requests import prompts_per_part, run_requests, split_requests


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
    batch_size: BatchSize = "auto",
    max_memory: int | str | None = None,
    ablation_data: object = None,
    groups: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    remote: bool | str = False,
    timeout: float | None = None,
    status: Callable[[str], None] | None = None,
    prompts_per_request: int | None = None,
    parts: str | Path | None = None,
    resume: bool = False,
    distributed: bool = False,
    share_prefix: bool = True,
    **options: Any,
) -> PruneScores | NodeScores:
    """Score every edge of a model on a task, or every writer with ``level="node"`` or ``level="neuron"``.

    Args:
        model: a model from ``load_model``, or a ``TransformerBridge``, ``HookedTransformer``, nnsight model or
            AutoCircuit ``PatchableModel``.
        data: a ``Task``, or any iterable of batches with ``clean``, ``corrupt`` [batch, pos], ``answers`` and
            ``wrong_answers`` [batch, n]. The metric is averaged within a batch and summed over batches; a task is one
            batch.
        algorithm: the name of a registered algorithm (see ``algorithms()``), or an algorithm object.
        metric: the name of a registered metric (see ``metrics()``), or a function of (logits [batch, vocab], batch)
            that returns one number per prompt.
        batch_size: the most prompt pairs to run at once, or ``None`` for all of a batch; affects memory and speed, not
            scores. ``"auto"`` runs as many as fit in the memory that is free where the model is, and fewer once memory
            has run out.
        max_memory: the most memory that ``"auto"`` may use for activations, in bytes or as text such as ``"4GB"``.
        ablation_data: data of any kind that ``data`` accepts. The ablations ``mean`` and ``mean-per-position`` take
            their means over its corrupt prompts; by default over those of ``data``.
        groups: the number of disjoint groups of prompts over which to keep the sums of scores, at least 2, from which
            follow ``stderr``, ``significant`` and ``resample`` of the result. Prompts are divided at random, but
            always in the same way. The model is not run on more prompts for them.
        progress: called with the number of prompt pairs done so far and their total number.
        remote: where to run the model instead of here, as one request that returns the scores: ``True`` for the
            server that nnsight is configured for (by default NDIF), ``"http://host:port"``, or ``"local"`` for a
            simulation in this process.
        timeout: seconds to wait for the result of a request; no limit by default.
        status: called with a short text whenever the status of a request changes; by default nnsight shows it.
        prompts_per_request: the most prompt pairs per request; the scores of the requests are added up.
        parts: a folder in which the scores of finished requests are kept until all are finished.
        resume: reuse the requests in ``parts`` that an interrupted run with the same arguments finished. It is an error
            if all that is there is of other runs; damaged files are done again.
        distributed: split the prompts among the processes of ``torch.distributed``'s default group. All of them must
            make the same call; each returns the scores of all prompts, with the same bits on any number of processes.
        share_prefix: run the tokens before the first difference of clean and corrupt prompts only once, if algorithm
            and model allow it; saves time and memory, and changes scores by rounding alone.
        **options: options of the algorithm; ``eap algorithms NAME`` lists them.

    Raises:
        UsageError: if a name, an option or the data is wrong.
        EapPluginError: if the self-check fails on this model (the message gives the layer and the difference), or the
            algorithm returns something other than scores of this model or leaves the model changed (the message
            names its plugin).
    """
    run = resolve(
        model,
        data,
        algorithm=algorithm,
        metric=metric,
        batch_size=batch_size,
        max_memory=max_memory,
        options=options,
        ablation_data=ablation_data,
        remote=RemoteOptions(remote, timeout, status),
        share_prefix=share_prefix,
        groups=groups,
    )
    if resume and parts is None:
        raise UsageError("resume continues from the finished requests in parts; pass that folder as parts=")
    ranks = ranks_for(run.model) if distributed else Ranks()
    if distributed and prompts_per_request is None:
        prompts_per_request = prompts_per_part(sum(map(len, run.batches)))
    run.model.run_constraints.check_batch_size(prompts_per_request)
    about = provenance(run)
    split_up = split_requests(run.batches, prompts_per_request, run.reference, run.algorithm)
    kept = None
    if parts is not None:
        kept = RequestCache(Path(parts), run_identity(run, about, prompts_per_request), len(split_up))
        if resume:
            kept.require_own()
        else:
            ranks.gather(kept.remove if ranks.is_first else lambda: None)
    found = run_requests(run, split_up, progress, kept, ranks)
    if fault := metric_fault(run.metric, found.clean_metric, found.corrupt_metric):
        raise EapPluginError(fault)
    about |= {"clean_metric": found.clean_metric, "corrupt_metric": found.corrupt_metric}
    if run.model.remote:
        about["remote"] = run.model.remote.record()
    if distributed:
        about["ranks"] = ranks.size
    if kept and ranks.is_first:
        kept.remove()
    weights = group_weights(run.batches)
    return scores_of(found.level, found.graph, found.matrix, about, found.groups, weights)


def estimate_cost(
    model: object,
    data: object,
    *,
    algorithm: str | Algorithm[Any] = "eap",
    metric: str | Metric | Judge = "logit_diff",
    batch_size: BatchSize = "auto",
    max_memory: int | str | None = None,
    **options: Any,
) -> Estimate:
    """Estimate how long ``prune_scores`` would take with the same arguments, from one timed pass on this machine."""
    run = resolve(
        model,
        data,
        algorithm=algorithm,
        metric=metric,
        batch_size=batch_size,
        max_memory=max_memory,
        options=options,
    )
    cost = run.algorithm.cost(run.options, run.model.graph)
    return run.model.run(estimate, microbatches(run.batches, None), run.batch_size, run.metric, cost)
