"""Resolve a user's arguments (names, options, data of any kind) into a ``Run``, and report mistakes in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.api.batch_size import BatchSize, resolve_batch_size
from eap_plugin.api.files import load_scores
from eap_plugin.api.models import placed
from eap_plugin.api.prompts import batches_for
from eap_plugin.api.registries import algorithms, metrics
from eap_plugin.data.prompt_groups import assign_groups
from eap_plugin.errors import UsageError
from eap_plugin.host.options import build_options
from eap_plugin.metric.metric import Judge, Metric, as_metric
from eap_plugin.model.graph import Graph
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm
from eap_plugin.runner.run import Run


def resolve(
    model: object,
    data: object,
    *,
    algorithm: str | Algorithm[Any],
    metric: str | Metric | Judge,
    batch_size: BatchSize,
    options: Mapping[str, Any],
    max_memory: int | str | None = None,
    ablation_data: object = None,
    remote: RemoteOptions | None = None,
    share_prefix: bool = True,
    groups: int | None = None,
) -> Run:
    """Resolve the arguments of ``prune_scores`` into a ``Run``; ``prune_scores`` documents them.

    Raises:
        UsageError: if a name, an option or the data is wrong.
    """
    there = placed(model, remote or RemoteOptions())
    batches = batches_for(there, data)
    provider = algorithm if isinstance(algorithm, Algorithm) else algorithms()[algorithm]
    judge = resolve_metric(metric)
    chosen = _options(provider, options, there)
    _check_ablation_data(provider, chosen, ablation_data)
    if groups is not None:
        _check_groups(groups, there, provider, sum(map(len, batches)))
    return Run(
        model=there,
        data=data,
        batches=assign_groups(batches, groups),
        reference=() if ablation_data is None else batches_for(there, ablation_data),
        algorithm=provider,
        checked=_checked(algorithm, provider),
        options=chosen,
        prepared=_with_scores(provider, chosen, there.graph),
        metric=judge,
        batch_size=resolve_batch_size(batch_size, max_memory, there.run_constraints),
        share_prefix=share_prefix,
        keep_order=not isinstance(metric, str),  # a function of the user's may hold numbers of its own for each prompt
        n_groups=groups,
    )


def resolve_metric(metric: str | Metric | Judge) -> Metric:
    """Return a metric, given by name, as a function or as itself."""
    if isinstance(metric, str):
        return metrics()[metric]
    return metric if isinstance(metric, Metric) else as_metric(metric)


def _options(provider: Algorithm[Any], given: Mapping[str, Any], model: ResidualModel) -> Any:
    required = model.run_constraints.required_options(given, provider.options, provider.name)
    chosen = replace(build_options(provider.options, given, owner=provider.name), **required)
    for name in provider.local_options:
        if model.remote and getattr(chosen, name) is not None:
            raise UsageError(
                f"{provider.name}'s {name} is a file on this machine, but the model runs on a server; leave it out"
            )
    return chosen


def _with_scores(provider: Algorithm[Any], chosen: Any, graph: Graph) -> Any:
    """Return the options with the scores of edges in place of the names of their files."""
    scores = {}
    for name in provider.score_options:
        path = getattr(chosen, name)
        if path is None:
            continue
        found = load_scores(path, graph=graph)
        if not isinstance(found, PruneScores):
            raise UsageError(f"{provider.name}'s {name} needs scores of edges, but {path} has scores of {found.level}s")
        scores[name] = found.sum_positions().matrix
    return replace(chosen, **scores)


def _check_ablation_data(provider: Algorithm[Any], chosen: Any, ablation_data: object) -> None:
    """Refuse ablation data if the chosen ablation takes no means over data."""
    if ablation_data is None:
        return
    only = "ablation_data (--ablation-task) is only used to take means"
    if not hasattr(chosen, "ablation"):
        raise UsageError(f"{only}, and {provider.name} has no option ablation; leave it out")
    if chosen.ablation in ("corrupt", "zero"):
        raise UsageError(
            f"{only}, but {provider.name}'s ablation is {chosen.ablation}; choose ablation=mean or "
            f"mean-per-position, or leave it out"
        )


def _check_groups(groups: int, model: ResidualModel, provider: Algorithm[Any], n_prompts: int) -> None:
    """Refuse groups if their number is wrong, or the algorithm cannot score the prompts of each on their own."""
    if not provider.additive:
        raise UsageError(
            f"scores of {provider.name} are not sums over prompts, so they have no sums over groups of prompts; "
            f"run it without groups"
        )
    if not 2 <= groups <= n_prompts:
        raise UsageError(f"groups must be between 2 and the number of prompt pairs, {n_prompts}; got {groups}")
    if model.run_constraints.whole_batches and not provider.keeps_groups:
        raise UsageError(
            f"{provider.name} runs the prompts of each group separately, but prompts have different cached prefixes, "
            f"which depend on their place in the batch; leave groups out, or load the prompts with "
            f"tail_divergence=False"
        )


def _checked(algorithm: str | Algorithm[Any], provider: Algorithm[Any]) -> CheckedAlgorithm:
    """Wrap the algorithm's ``attribute`` in checks; an algorithm passed as an object belongs to no plugin."""
    if isinstance(algorithm, Algorithm):
        origin, advice = f"algorithm {provider.name!r} of {type(provider).__module__}", "fix it"
    else:
        registry = algorithms()
        origin, advice = registry.origin(algorithm), registry.provider(algorithm).advice
    return CheckedAlgorithm(provider.attribute, origin, advice, provider.keeps_groups, provider.additive)
