"""The common part of gradient methods, which multiply changes of writers by gradients at readers.

The change of a writer is the difference between its counterfactual and its clean output. The gradient is that of minus
the metric with respect to a reader's input. ``GradientAlgorithm.attribute`` scores all edges in five steps:

1. Prepare the ablation (``Counterfactual``). A mean is computed once, over all of the data.
2. For each microbatch, find the first position to record. With ``ablation="corrupt"`` it is the first at which clean
   and corrupt prompts differ: writers do not change at earlier positions, so their scores are zero. If the microbatch
   leaves earlier positions to a prefix, they are run once, and all other runs continue from there (``with_prefix``).
3. Call the method's ``score_microbatch`` with a ``ScoringContext``. The method records the writers on the clean and on
   the corrupt prompts (``record``, ``corrupt``), and runs the model once or several times to take the gradient at every
   reader (``gradients``).
4. For each gradient, the method calls ``ScoringContext.add``, or ``add_all`` for those of several runs. A ``Scorer``
   multiplies the changes of all writers by the gradients at all readers, and adds the products to the score matrix.
5. After the last microbatch, convert the matrix to the level that was asked for, and average the metric over batches.

So a method defines the runs on which it takes gradients, in ``score_microbatch``, and their number, in ``cost``.
Ablations, levels, positions and microbatches are handled here for all methods.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Level, Progress
from eap_plugin.algorithm.gradient.edge_scorer import EdgeScorer
from eap_plugin.algorithm.gradient.neuron_scorer import NeuronScorer
from eap_plugin.algorithm.gradient.scorer import Scorer
from eap_plugin.data.batch import NO_ANSWER, Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.data.prompt_groups import members
from eap_plugin.errors import UsageError
from eap_plugin.host.options import option
from eap_plugin.interventions.counterfactual import Ablation, Counterfactual, ablation_passes
from eap_plugin.interventions.recording import GradientRecorder, ReaderGradients, WriterRecorder, merge
from eap_plugin.interventions.site_recorder import LayerSite
from eap_plugin.interventions.workspace import waiting_gradients
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import sum_qkv
from eap_plugin.model.graph import Graph
from eap_plugin.model.prefix import with_prefix
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


@dataclass(frozen=True)
class GradientOptions:
    """The options of every gradient method."""

    level: Level = option(
        "edge", help="what to score: edges, writers (node), or each dimension of a writer's output (neuron)"
    )
    ablation: Ablation = option(
        "corrupt", help="what replaces a writer's output: its value on the corrupt prompt, zero, or a mean"
    )
    answer_diff: bool = option(True, help="attribute right minus wrong answers; if false, right answers alone")
    positions: bool = option(False, help="score each token position separately, with a leading position axis")
    qkv: Literal["separate", "summed"] = option(
        "separate", help="score a head's q, k and v inputs as three readers, or summed into one"
    )
    dtype: Literal["auto", "float32", "float64"] = option(
        "auto", help="dtype in which scores are computed; auto is the model's dtype, but at least float32"
    )

    def without_effect(self) -> dict[str, str]:
        """Return the options that have no effect; see ``eap_plugin.host.options``."""
        return {} if self.level == "edge" else {"qkv": f"level is {self.level}"}

    @property
    def mean_passes(self) -> int:
        """Forward passes on each microbatch's corrupt prompts for a mean; over ``ablation_data`` instead if given."""
        return int(self.ablation not in ("corrupt", "zero"))

    @property
    def ablation_passes(self) -> int:
        """Forward passes for the ablation; see ``eap_plugin.interventions.counterfactual``."""
        return ablation_passes(self.ablation)


O = TypeVar("O", bound=GradientOptions)  # noqa: E741 - a method's options


@dataclass(frozen=True)
class ScoringContext:
    """One microbatch, and the operations with which ``GradientAlgorithm.score_microbatch`` scores it.

    Attributes:
        model: the model.
        batch: the prompt pairs, on the model's device.
        metric: what to attribute.
        share: the number of prompt pairs divided by that of the whole batch.
        start: the first position whose scores are not zero, counted from the batch's prefix.
        scorer: the scorer whose matrix the scores are added to.
        counterfactual: the counterfactual values of the writers.
    """

    model: ResidualModel
    batch: Batch
    metric: Metric
    share: float
    start: int
    scorer: Scorer
    counterfactual: Counterfactual

    def forward(self, tokens: Int[Tensor, "batch pos"], visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """Run the model on the microbatch's clean or corrupt prompts, and return the logits at the last positions."""
        return self.model.forward(self.batch.prompts(tokens), visit)

    def record(self, tokens: Int[Tensor, "batch pos"]) -> tuple[Writers, Float[Tensor, "batch vocab"]]:
        """Run the model without gradients, and return the writers' outputs and the logits."""
        recorder = WriterRecorder(self.model, self.start)
        with torch.no_grad():
            logits = self.forward(tokens, recorder.visitors())
        return recorder.writers(), logits

    def value(self, logits: Float[Tensor, "batch vocab"]) -> float:
        """Return the metric, weighted by the microbatch's share."""
        with torch.no_grad():
            return self.share * float(self.metric(logits, self.batch))

    def corrupt(self) -> tuple[Writers | None, float | None]:
        """Run the model on the corrupt prompts, and return its writers and metric.

        The metric is weighted by the microbatch's share. Both are ``None`` if the ablation uses constants instead.
        """
        if not self.counterfactual.corrupt:
            return None, None
        writers, logits = self.record(self.batch.corrupt)
        return writers, self.value(logits)

    def target(self, corrupt: Writers | None) -> Writers:
        """Return the counterfactual writers: ``corrupt`` if the ablation uses that run, constants otherwise."""
        if corrupt is not None and self.counterfactual.corrupt:
            return corrupt
        return self.counterfactual.constant(self.batch)

    def change(self, corrupt: Writers | None, clean: Writers) -> Writers:
        """Return the change of every writer: its counterfactual minus its clean output."""
        return self.target(corrupt).minus(clean)

    def gradients(
        self,
        tokens: Int[Tensor, "batch pos"],
        *visitors: Mapping[Site, Visitor],
        weight: float = 1.0,
        frozen_norms: bool = False,
        cut: frozenset[LayerSite] = frozenset(),
    ) -> tuple[ReaderGradients, float]:
        """Run the model, and take the gradient of minus the metric at every reader.

        Args:
            tokens: the prompts, clean or corrupt.
            *visitors: the visitors that modify the run; readers are recorded after them.
            weight: a factor of the gradient, for means over several runs.
            frozen_norms: whether the visitors hold the norms' scales constant; the readers' own norms then do so, too.
            cut: readers whose gradient is set to zero.

        Returns:
            The gradients, times ``weight``; and the metric on this run, weighted by the microbatch's share alone.
        """
        recorder = GradientRecorder(self.model, self.start, frozen_norms, cut)
        logits = self.forward(tokens, merge(*visitors, recorder.visitors()))
        value = self.share * self.metric(logits, self.batch)
        return recorder.gradients(-weight * value), float(value.detach())

    def add_clean_run(self, rules: Mapping[Site, Visitor], *, frozen_norms: bool = False) -> tuple[float, float | None]:
        """Add the scores of the gradient on the clean run, optionally with modified backward rules.

        Args:
            rules: the visitors that modify the backward pass.
            frozen_norms: whether these hold the norms' scales constant.

        Returns:
            The return value of ``GradientAlgorithm.score_microbatch``.
        """
        other, on_corrupt = self.corrupt()
        clean = WriterRecorder(self.model, self.start)
        gradients, on_clean = self.gradients(self.batch.clean, rules, clean.visitors(), frozen_norms=frozen_norms)
        self.add(self.change(other, clean.writers()), gradients)
        return on_clean, on_corrupt

    def add(self, change: Writers, *runs: ReaderGradients) -> None:
        """Add the products of changes and gradients, the latter summed over runs, to the scores."""
        with torch.no_grad():
            self.scorer.add(change, *runs, start=self.batch.n_prefix + self.start, groups=members(self.batch))

    def add_all(self, change: Writers, runs: Iterable[ReaderGradients]) -> None:
        """Add the products of the same changes and the gradients of each run; ``runs`` may make them one by one.

        Gradients wait for those of the next runs, as long as memory allows, to be multiplied together.
        """
        waiting: list[ReaderGradients] = []
        for gradients in runs:
            waiting.append(gradients)
            if (len(waiting) + 1) * gradients.numel() > waiting_gradients(gradients.final.device):
                self.add(change, *waiting)
                waiting = []
        if waiting:
            self.add(change, *waiting)

    def add_prompts(self, scores: Float[Tensor, "batch pos sources columns"]) -> None:
        """Add the scores of each prompt, from position ``start`` on; without positions, that axis has length one."""
        first = self.batch.n_prefix + self.start if self.scorer.matrix.shape[0] > 1 else 0
        where = slice(first, first + scores.shape[1])
        rows_of = members(self.batch)
        if rows_of is None:
            self.scorer.matrix[where] += scores.sum(0)
            return
        for group, rows in rows_of.items():
            self.scorer.groups[group, where] += scores[rows].sum(0)


class GradientAlgorithm(Algorithm[O]):
    """A method that multiplies changes of writers by gradients at readers.

    Attributes:
        levels: the levels that the method can score.
    """

    keeps_groups: ClassVar[bool] = True
    levels: ClassVar[tuple[Level, ...]] = ("edge", "node", "neuron")

    @abstractmethod
    def score_microbatch(self, context: ScoringContext, options: O) -> tuple[float | None, float | None]:
        """Add the scores of one microbatch.

        Returns:
            The metric on the clean and on the corrupt prompts, each weighted by the microbatch's share; ``None`` for
            prompts that were not run.
        """

    def cost(self, options: O, graph: Graph) -> Cost:
        """Count one forward pass on the corrupt prompts, and one forward and backward pass on the clean ones."""
        return Cost(forwards=1 + options.ablation_passes, backwards=1)

    def on_clean(self, options: O) -> bool:
        """Return whether gradients are taken on the clean run only."""
        return self.gradient_run == "clean"

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: O,
        progress: Progress,
    ) -> Attribution:
        """Score every edge, node or neuron; see ``Algorithm.attribute``."""
        if metric.flat_when_clean and self.on_clean(options):
            raise UsageError(
                f"metric {metric.name!r} is at its optimum on the clean run, where {self.name} takes the gradient, so "
                f"every score would be zero; choose another metric, such as logit_diff, or another algorithm, such "
                f"as eap-ig-inputs"
            )
        counterfactual = Counterfactual(model, data, options.ablation)
        n_positions = max(piece.batch.clean.shape[1] for piece in data) if options.positions else None
        kind = NeuronScorer if options.level == "neuron" else EdgeScorer
        groups = data[0].batch.groups
        scorer = kind(model, _dtype(options, model), n_positions, 0 if groups is None else groups.shape[1])
        seen: list[tuple[float | None, float | None]] = []
        for piece in data:
            batch = with_prefix(model, piece)
            if not options.answer_diff:
                batch = replace(batch, wrong_answers=torch.full_like(batch.wrong_answers, NO_ANSWER))
            start = batch.first_difference - batch.n_prefix if counterfactual.corrupt else 0
            context = ScoringContext(model, batch, metric, piece.share, start, scorer, counterfactual)
            seen.append(self.score_microbatch(context, options))
            progress()
        total = sum(piece.share for piece in data)
        clean, corrupt = (_mean(values, total) for values in zip(*seen, strict=True))
        graph, matrix = _at_level(model.graph, scorer.matrix + scorer.groups.sum(0), options)
        _, sums = _at_level(model.graph, scorer.groups, options)
        return Attribution(graph, matrix, clean, corrupt, options.level, None if groups is None else sums)


def _mean(shares: Sequence[float | None], total: float) -> float | None:
    """Return the metric averaged over batches, given each microbatch's weighted metric; ``None`` if one is missing."""
    known = [share for share in shares if share is not None]
    return sum(known) / total if len(known) == len(shares) else None


def _at_level(
    graph: Graph, matrix: Float[Tensor, "*groups pos sources columns"], options: GradientOptions
) -> tuple[Graph, Tensor]:
    """Convert scores to the level asked for; a node's first-order score is the sum over its outgoing edges."""
    if not options.positions:
        matrix = matrix.squeeze(-3)
    if options.level == "edge" and options.qkv == "summed":
        return sum_qkv(graph, matrix)
    return graph, matrix.sum(-1) if options.level == "node" else matrix


def _dtype(options: Any, model: ResidualModel) -> torch.dtype:
    if options.dtype == "auto":
        return model.score_dtype
    return {"float32": torch.float32, "float64": torch.float64}[options.dtype]
