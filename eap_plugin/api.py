"""What users call: load a model and a task, score edges, check a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, overload

import torch

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.batch import NO_ANSWER, Batch, as_batches, pieces
from eap_plugin.errors import EapPluginError, UsageError, blaming
from eap_plugin.estimate import Estimate, estimate
from eap_plugin.finite import metric_fault
from eap_plugin.host import get_host
from eap_plugin.host.options import build_options
from eap_plugin.host.plugin import one_line
from eap_plugin.host.registry import Registry
from eap_plugin.metric.metric import Judge, Metric, as_metric
from eap_plugin.node_scores import NodeScores
from eap_plugin.provenance import provenance, run_digest
from eap_plugin.remote import as_remote
from eap_plugin.residual import ResidualModel
from eap_plugin.scores import PruneScores
from eap_plugin.scoring import Kept, run_parts, split
from eap_plugin.self_check import CheckReport, self_check
from eap_plugin.storage import scores_of
from eap_plugin.task.base import TaskGenerator
from eap_plugin.task.load import read_task_file
from eap_plugin.task.task import PromptPair, Task, encode_task
from eap_plugin.vetting import Vetted


def algorithms() -> Registry:
    """The registered algorithms, by name."""
    return get_host().registry("algorithms")


def backends() -> Registry:
    """The registered model backends, by name."""
    return get_host().registry("backends")


def metrics() -> Registry:
    """The registered metrics, by name."""
    return get_host().registry("metrics")


def tasks() -> Registry:
    """The registered task generators, by name."""
    return get_host().registry("tasks")


def load_model(
    name: str,
    *,
    backend: str = "transformer_lens",
    device: str = "cpu",
    dtype: str = "float32",
    revision: str | None = None,
    remote: bool | str = False,
) -> ResidualModel:
    """Load a model by name or path.

    Args:
        name: a shipped model, a hub name, or a folder that ``save_pretrained`` wrote.
        backend: what runs it; see ``backends()``.
        device: such as ``cpu`` or ``cuda:0``.
        dtype: ``float32``, ``float64``, ``bfloat16`` or ``float16``.
        revision: the hub's branch, tag or commit.
        remote: load no weights, and have runs execute on a server, whose device and dtype they have; as for
            ``prune_scores``.

    Raises:
        UsageError: if there is no such model or backend, or the backend runs in this process only.
        EapPluginError: if the backend's library is not installed.
    """
    provider = backends()[backend]
    missing = provider.missing() if hasattr(provider, "missing") else None
    if missing:
        raise EapPluginError(f"the backend {backend!r} cannot be used here: {missing}")
    with blaming(backends().origin(backend)):
        if remote:
            if (device, dtype) != ("cpu", "float32"):
                raise UsageError("device and dtype are the server's when a model runs there; leave them out")
            elsewhere: ResidualModel = provider.load_at(name, as_remote(remote), revision=revision)
            return elsewhere
        model: ResidualModel = provider.load(name, device=device, dtype=dtype, revision=revision)
    return model


def wrap_model(model: object) -> ResidualModel:
    """A model object of any library that a backend knows, as a ``ResidualModel``; the object stays as it is.

    Raises:
        UsageError: if no backend accepts it.
    """
    if isinstance(model, ResidualModel):
        return model
    registry = backends()
    troubles = registry.troubles
    for name in registry:
        try:
            accepted = registry[name].accepts(model)
        except Exception as error:
            troubles.append(f"{registry.origin(name)} cannot tell: {one_line(error)}")
            continue
        if accepted:
            with blaming(registry.origin(name)):
                wrapped: ResidualModel = registry[name].wrap(model)
            return wrapped
    expected = f"expected what one of these makes: {', '.join(registry)}"
    raise UsageError(
        "; ".join([f"no backend accepts a {type(model).__module__}.{type(model).__name__}", expected, *troubles])
    )


def load_task(
    name: str | Path,
    model: object,
    *,
    n_prompts: int = 64,
    seed: int = 0,
    format: str | None = None,
    prepend_bos: bool | None = None,
) -> Task:
    """Load a task's prompts for a model's tokenizer.

    Args:
        name: a registered task, or a file of prompt pairs.
        model: whose tokenizer to use.
        n_prompts: how many prompt pairs to generate, or at most to take from a file.
        seed: which ones to generate.
        format: the file's format, if its suffix does not tell.
        prepend_bos: put a beginning-of-sequence token before each prompt; by default what the model does itself.

    Raises:
        UsageError: if there is no such task or file, or no prompt of it can be used with this tokenizer.
    """
    wrapped = wrap_model(model)
    if n_prompts < 1:
        raise UsageError(f"a task needs at least one prompt pair, got {n_prompts}")
    bos = wrapped.prepend_bos if prepend_bos is None else prepend_bos
    if bos and getattr(wrapped.tokenizer, "bos_token_id", None) is None:
        raise UsageError(f"the tokenizer of {wrapped.name} has no beginning-of-sequence token to prepend")
    source = task_source(name, format)
    if isinstance(source, list):
        return encode_task(Path(name).stem, source, wrapped.tokenizer, prepend_bos=bos, limit=n_prompts)
    return source.generate(wrapped.tokenizer, n_prompts=n_prompts, seed=seed, prepend_bos=bos)


def task_source(name: str | Path, format: str | None = None) -> TaskGenerator | list[PromptPair]:
    """What a task is made of, before any model: its generator, or the prompt pairs of a file.

    Raises:
        UsageError: if there is no such task or file, or the file is malformed.
    """
    path = Path(name)
    if str(name) in tasks() or not (path.suffix or path.exists()):
        generator: TaskGenerator = tasks()[str(name)]
        return generator
    formats = get_host().registry("formats")
    if format is not None:
        pairs: list[PromptPair] = formats[format].read(path)
        return pairs
    return read_task_file(path, [formats[known] for known in formats])


@overload
def prune_scores(
    model: object,
    data: object,
    *,
    level: Literal["edge"] = "edge",
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
) -> PruneScores: ...


@overload
def prune_scores(
    model: object,
    data: object,
    *,
    level: Literal["node", "neuron"],
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
) -> NodeScores: ...


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
    wrapped = _placed(model, remote, timeout, status)
    batches = _batches(data, wrapped)
    provider = _provider(algorithm)
    judge = _metric(metric)
    chosen = _options(provider, options, wrapped)
    _check_arguments(provider, chosen, ablation_data, parts, resume)
    reference = () if ablation_data is None else tuple(_batches(ablation_data, wrapped))
    wrapped.terms.check_batch_size(batch_size if prompts_per_request is None else prompts_per_request)
    _check_ids(wrapped, [*batches, *reference])
    about = provenance(wrapped, provider, chosen, judge, data, batches)
    split_up = split(batches, prompts_per_request, reference, provider)
    kept = None
    if parts is not None:
        kept = Kept(Path(parts), run_digest(about, judge, batch_size, prompts_per_request, reference), len(split_up))
        if not resume:
            kept.remove()
    found = run_parts(wrapped, split_up, batch_size, _vetted(algorithm, provider), judge, chosen, progress, kept)
    if fault := metric_fault(judge, found.clean_metric, found.corrupt_metric):
        raise EapPluginError(fault)
    about |= {"clean_metric": found.clean_metric, "corrupt_metric": found.corrupt_metric}
    if wrapped.remote:
        about["remote"] = wrapped.remote.record()
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
    wrapped = wrap_model(model)
    batches = _batches(data, wrapped)
    provider = _provider(algorithm)
    cost = provider.cost(_options(provider, options, wrapped), wrapped.graph)
    _check_ids(wrapped, batches)
    return wrapped.run(estimate, pieces(batches, batch_size), _metric(metric), cost)


def check(
    model: object,
    data: object = None,
    *,
    remote: bool | str = False,
    timeout: float | None = None,
    status: Callable[[str], None] | None = None,
) -> CheckReport:
    """Whether edge scores mean anything on this model: that writers add up to what each reader reads.

    Args:
        model: as for ``prune_scores``.
        data: prompts to check on, as for ``prune_scores``; random tokens if not given.
        remote: as for ``prune_scores``.
        timeout: likewise.
        status: likewise.
    """
    wrapped = _placed(model, remote, timeout, status)
    if data is not None:
        batch = _batches(data, wrapped)[0].select(slice(0, None if wrapped.terms.whole_batches else 4))
        _check_ids(wrapped, [batch])
        return wrapped.run(self_check, batch.clean, batch.attention_mask)
    generator = torch.Generator().manual_seed(0)
    return wrapped.run(
        self_check, torch.randint(wrapped.n_vocab, (2, min(16, wrapped.n_ctx or 16)), generator=generator)
    )


def _placed(
    model: object, remote: bool | str, timeout: float | None, status: Callable[[str], None] | None
) -> ResidualModel:
    """A model where it is to run: on the server that is named, or where it runs by itself."""
    wrapped = wrap_model(model)
    if wrapped.remote is not None:
        remote = remote or wrapped.remote.url or True
    if not remote:
        if timeout is not None:
            raise UsageError("a time-out is for runs on a server; give remote=, too")
        return wrapped
    backend = wrapped.provenance.get("backend", "")
    placed: ResidualModel = backends()[backend].at(wrapped, as_remote(remote, timeout, status))
    return placed


def _batches(data: object, model: ResidualModel) -> list[Batch]:
    batches = as_batches(data)
    model.terms.check_data(data, batches)
    return batches


def _options(provider: Algorithm[Any], given: dict[str, Any], model: ResidualModel) -> Any:
    required = model.terms.required_options(given, provider.options, provider.name)
    chosen = replace(build_options(provider.options, given, owner=provider.name), **required)
    for name in provider.local_options:
        if model.remote and getattr(chosen, name) is not None:
            raise UsageError(
                f"{provider.name}'s {name} is a file of this machine, but the model runs on a server; leave it out"
            )
    return chosen


def _check_arguments(
    provider: Algorithm[Any], chosen: Any, ablation_data: object, parts: str | Path | None, resume: bool
) -> None:
    """Refuse arguments that would have no effect beside the others."""
    ablation = getattr(chosen, "ablation", None)
    if ablation_data is not None and ablation in ("corrupt", "zero"):
        raise UsageError(
            f"ablation_data (--ablation-task) is what means are taken over, but {provider.name}'s ablation is "
            f"{ablation}; give ablation=mean or mean-per-position, or leave it out"
        )
    if resume and parts is None:
        raise UsageError("resume goes on from what is kept in parts; give that folder, too")


def _provider(algorithm: str | Algorithm[Any]) -> Algorithm[Any]:
    if isinstance(algorithm, Algorithm):
        return algorithm
    found: Algorithm[Any] = algorithms()[algorithm]
    return found


def _vetted(algorithm: str | Algorithm[Any], provider: Algorithm[Any]) -> Vetted:
    """Its ``attribute``, checked; an algorithm that is given as it is belongs to no plugin."""
    if isinstance(algorithm, Algorithm):
        return Vetted(provider.attribute, f"algorithm {provider.name!r} of {type(provider).__module__}", "mend it")
    registry = algorithms()
    return Vetted(provider.attribute, registry.origin(algorithm), registry.provider(algorithm).advice)


def _metric(metric: str | Metric | Judge) -> Metric:
    if isinstance(metric, str):
        found: Metric = metrics()[metric]
        return found
    return metric if isinstance(metric, Metric) else as_metric(metric)


def _check_ids(model: ResidualModel, batches: list[Batch]) -> None:
    for batch in batches:
        n_pos = batch.clean.shape[1]
        if model.n_ctx is not None and n_pos > model.n_ctx:
            raise UsageError(
                f"prompts have up to {n_pos} tokens, but {model.name} takes at most {model.n_ctx}; shorten them"
            )
        for name in ("clean", "corrupt", "answers", "wrong_answers"):
            ids = getattr(batch, name)
            least = NO_ANSWER if "answers" in name else 0
            if ids.numel() and not least <= int(ids.min()) <= int(ids.max()) < model.n_vocab:
                raise UsageError(
                    f"{name} has token ids from {int(ids.min())} to {int(ids.max())}, but {model.name} has "
                    f"{model.n_vocab} tokens; use the model's own tokenizer"
                )
