"""Evaluate circuits, or scores at several sizes of circuits, by running the model with all other edges patched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from eap_plugin.algorithm.base import Progress
from eap_plugin.api.batch_size import BatchSize, resolve_batch_size
from eap_plugin.api.models import placed
from eap_plugin.api.prompts import batches_for
from eap_plugin.api.registries import selections
from eap_plugin.api.resolve import resolve_metric
from eap_plugin.circuits.areas import MIB_SIZES
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.fitting import fitted
from eap_plugin.circuits.evaluation.judging import Candidate, Runs
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.circuits.hypothesis_tests.run_tests import Mask, run_tests
from eap_plugin.circuits.hypothesis_tests.settings import HypothesisTestSettings
from eap_plugin.circuits.select import select_circuit, size_of
from eap_plugin.circuits.selection.base import Scores, Selection, scored
from eap_plugin.errors import UsageError
from eap_plugin.host.options import build_options
from eap_plugin.interventions.counterfactual import Ablation
from eap_plugin.metric.metric import Judge, Metric
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.runner.evaluator import Evaluator
from eap_plugin.runner.provenance import evaluation_provenance
from eap_plugin.runner.ranks import Ranks, ranks_for
from eap_plugin.runner.requests import nothing, prompts_per_part, split_parts


def evaluate(
    model: object,
    data: object,
    what: Circuit | Sequence[Circuit] | Scores,
    *,
    sizes: Literal["mib"] | Sequence[int | float] = "mib",
    method: str | Selection[Any] = "top",
    signed: bool | None = None,
    prune: bool = True,
    metric: str | Metric | Judge = "logit_diff",
    ablation: Ablation = "corrupt",
    ablation_data: object = None,
    complement: bool = False,
    random: int = 0,
    resamples: int = 1000,
    seed: int = 0,
    tests: bool | HypothesisTestSettings = False,
    batch_size: BatchSize = "auto",
    progress: Callable[[int, int], None] | None = None,
    remote: bool | str = False,
    timeout: float | None = None,
    status: Callable[[str], None] | None = None,
    distributed: bool = False,
    share_prefix: bool = True,
    **selection_options: Any,
) -> Evaluation:
    """Measure how much of a behaviour circuits preserve on their own.

    The model runs on the clean prompts. Along the edges of the circuit flow the values of this run, along all others
    counterfactual values. The faithfulness of a circuit C is

        f(C) = (m(C) − m(∅)) / (m(M) − m(∅)),

    where m is the metric averaged over all prompts, M the whole model and ∅ the empty circuit under the same ablation:
    1 if the circuit behaves like the model, 0 if it does no better than none.

    Args:
        model: as for ``prune_scores``.
        data: as for ``prune_scores``.
        what: a circuit, several circuits, or scores, from which circuits of all ``sizes`` are selected. Circuits may
            have one k and one v reader for each query head, as those of EAP-IG and MIB.
        sizes: ``"mib"`` for MIB's ten shares from 0.1 % to 100 %; or numbers of edges (nodes, neurons) as integers, and
            shares of them as floats.
        method: the selection method, for scores; see ``selections()``.
        signed: select by large scores, or if false by large absolute scores; by default both, and CPR is taken from the
            signed and CMD from the absolute selection, as MIB does.
        prune: remove edges on no path from the embedding to the logits from what is selected.
        metric: as for ``prune_scores``. Intervals need a metric that gives one number per prompt.
        ablation: what flows along edges outside the circuit: the writers' outputs on the ``corrupt`` prompts, ``zero``,
            or their ``mean`` over the corrupt prompts, over all tokens or ``mean-per-position``.
        ablation_data: the data over whose corrupt prompts means are taken, instead of ``data``.
        complement: run the opposite: counterfactual values flow along the circuit's edges only.
        random: the number of random circuits of the same size to evaluate beside each circuit.
        resamples: the number of resamples of the prompts, from which 95 % intervals are taken.
        seed: the seed of random circuits, resamples and tests.
        tests: make the hypothesis tests of Shi et al. 2024 on the circuit, which must be one of edges; or how to make
            them. They run hundreds of other circuits, on a server in several requests.
        batch_size: the most prompt pairs to run at once, or ``None`` for all of a batch; affects memory and speed only.
            ``"auto"`` runs as many as fit in memory, and fewer once memory has run out.
        progress: called with the number of prompt pairs done so far, counted once for each circuit, and their total
            number; not on a server.
        remote: as for ``prune_scores``.
        timeout: as for ``prune_scores``.
        status: as for ``prune_scores``.
        distributed: as for ``prune_scores``.
        share_prefix: run the tokens before the first difference of clean and corrupt prompts only once, if the ablation
            is ``corrupt`` and the model allows it; saves time and memory, and changes results by rounding alone.
        **selection_options: options of the selection method.

    Raises:
        UsageError: if a name, an option, a circuit or the data is wrong, or the metric does not tell the model from the
            empty circuit.
        EapPluginError: if patching all edges, or keeping them all, does not reproduce the model's logits.
    """
    there = placed(model, RemoteOptions(remote, timeout, status))
    batches = batches_for(there, data)
    if ablation_data is not None and ablation in ("corrupt", "zero"):
        raise UsageError(f"ablation_data is used to take means only, but the ablation is {ablation}; leave it out")
    judge = resolve_metric(metric)
    curve = isinstance(what, PruneScores | NodeScores)
    candidates = (
        _selected(what, sizes, method, signed, prune, selection_options)
        if isinstance(what, PruneScores | NodeScores)
        else _given(what, selection_options)
    )
    tested = _to_test(what, tests, complement, seed)
    runs = Runs(there, candidates, complement, random, seed)
    reference = () if ablation_data is None else batches_for(there, ablation_data)
    evaluator = Evaluator(
        model=there,
        parts=split_parts(batches, prompts_per_part(sum(map(len, batches))) if distributed else None, reference),
        size=resolve_batch_size(batch_size, None, there.run_constraints),
        metric=judge,
        ablation=ablation,
        share_prefix=share_prefix,
        keep_order=not isinstance(metric, str),  # a function of the user's may hold numbers of its own for each prompt
        ranks=ranks_for(there) if distributed else Ranks(),
    )
    n_runs = len(runs.all) + (tested[1].n_runs(tested[0]) if tested else 0)
    counter = _Counter(progress, evaluator.n_prompts, n_runs)
    measured = evaluator.measure(runs.all, counter.over(len(runs.all)))
    about = evaluation_provenance(there, data, batches, judge) | {
        "ablation": ablation,
        "complement": complement,
        "random": random,
        "resamples": resamples,
        "seed": seed,
        "evaluated": candidates[0].circuit.metadata,
    }
    if distributed:
        about["ranks"] = evaluator.ranks.size
    result = runs.result(measured, resamples, seed, curve, about)
    if tested is None:
        return result
    if not measured.per_prompt:
        raise UsageError(f"hypothesis tests need one number per prompt, but {judge.name} gives only a mean")
    circuit, settings = tested

    def run(masks: Sequence[Mask]) -> Float[Tensor, "circuits prompts"]:
        patched = [fitted(there, Circuit(circuit.graph, mask), complement=False) for mask in masks]
        return evaluator.measure(patched, counter.over(len(patched))).circuits

    return replace(result, tests=run_tests(circuit, run, settings))


def _to_test(
    what: object, tests: bool | HypothesisTestSettings, complement: bool, seed: int
) -> tuple[Circuit, HypothesisTestSettings] | None:
    """Return the circuit to make hypothesis tests on and how; ``None`` if none are asked for."""
    if tests is False:
        return None
    if not isinstance(what, Circuit):
        raise UsageError("hypothesis tests are made on one circuit, such as `select` returns; give that")
    if complement:
        raise UsageError("hypothesis tests run a circuit and its complement; leave complement out")
    settings = HypothesisTestSettings(seed=seed) if tests is True else tests
    settings.check(what)
    return what, settings


def _given(what: Circuit | Sequence[Circuit], options: dict[str, Any]) -> list[Candidate]:
    """Return given circuits as candidates."""
    circuits = [what] if isinstance(what, Circuit) else list(what)
    if not circuits or not all(isinstance(circuit, Circuit) for circuit in circuits):
        raise UsageError("give a circuit, a sequence of circuits, or scores, to evaluate")
    if options:
        raise UsageError(f"options of a selection method apply to scores only; leave out {', '.join(options)}")
    return [Candidate(circuit, circuit.n_edges, circuit.n_edges / circuit.graph.n_edges) for circuit in circuits]


def _selected(
    scores: Scores,
    sizes: Literal["mib"] | Sequence[int | float],
    method: str | Selection[Any],
    signed: bool | None,
    prune: bool,
    given: dict[str, Any],
) -> list[Candidate]:
    """Select circuits of all sizes from scores, by scores and by absolute scores or as ``signed`` says."""
    provider = method if isinstance(method, Selection) else selections()[method]
    options = build_options(provider.options, given, owner=provider.name)
    flat = scores.sum_positions()
    total = int(scored(flat).sum())
    candidates = []
    for by_score in (True, False) if signed is None else (signed,):
        for wanted in MIB_SIZES if sizes == "mib" else sizes:
            share = isinstance(wanted, float)
            size = size_of(flat, fraction=wanted) if share else size_of(flat, count=int(wanted))
            circuit = select_circuit(flat, size, provider, options, signed=by_score, prune=prune)
            candidates.append(Candidate(circuit, size, float(wanted) if share else size / total, by_score))
    if not candidates:
        raise UsageError("give at least one size")
    return candidates


class _Counter:
    """A counter of the prompt pairs that circuits were run on, which reports them to the user."""

    def __init__(self, progress: Callable[[int, int], None] | None, n_prompts: int, n_runs: int) -> None:
        self._progress, self._n_prompts, self._total = progress, n_prompts, n_prompts * n_runs
        self._done = 0.0

    def over(self, n_runs: int) -> Progress:
        """Return the function that takes the fractions that are done of so many runs."""
        return nothing if self._progress is None else partial(self._add, n_runs * self._n_prompts)

    def _add(self, units: int, fraction: float = 1.0) -> None:
        assert self._progress is not None
        self._done += units * fraction
        self._progress(round(self._done), self._total)
