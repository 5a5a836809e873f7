"""What gradient methods share: each multiplies what writers change by a gradient at the readers, over one or more runs.

A method says which runs those are: see ``GradientAlgorithm.score_microbatch``. All else is the same for all of them:
ablations, levels, positions, pieces, and the metric on the way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.algorithm.base import Algorithm, Attribution, Cost, Level, Progress
from eap_plugin.algorithm.gradient.scorer import EdgeScorer, NeuronScorer, Scorer
from eap_plugin.data.batch import NO_ANSWER, Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.errors import UsageError
from eap_plugin.host.options import option
from eap_plugin.interventions.counterfactual import Ablation, Counterfactual, ablation_passes
from eap_plugin.interventions.recording import GradientRecorder, ReaderGradients, WriterRecorder, merge
from eap_plugin.interventions.site_recorder import LayerSite
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import sum_qkv
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


@dataclass(frozen=True)
class GradientOptions:
    """What can be chosen with every gradient method."""

    level: Level = option("edge", help="score edges, writers (node), or each dimension of what a writer adds (neuron)")
    ablation: Ablation = option(
        "corrupt", help="what a writer is changed to: its value on the corrupt prompt, zero, or a mean"
    )
    answer_diff: bool = option(True, help="attribute right answers less wrong ones; if false, the right ones alone")
    positions: bool = option(False, help="keep token positions apart: scores get a leading position axis")
    qkv: Literal["separate", "summed"] = option(
        "separate", help="a head's q, k and v inputs as three readers, or summed into one"
    )
    dtype: Literal["auto", "float32", "float64"] = option(
        "auto", help="dtype in which scores are multiplied and added; auto: the model's, but at least float32"
    )

    def without_effect(self) -> dict[str, str]:
        """See ``eap_plugin.host.options``."""
        return {} if self.level == "edge" else {"qkv": f"level is {self.level}"}

    @property
    def mean_passes(self) -> int:
        """Forward passes on each piece's corrupt prompts for a mean, if it is not taken over another task."""
        return int(self.ablation not in ("corrupt", "zero"))

    @property
    def ablation_passes(self) -> int:
        """See ``eap_plugin.interventions.counterfactual``."""
        return ablation_passes(self.ablation)


O = TypeVar("O", bound=GradientOptions)  # noqa: E741 - a method's options


@dataclass(frozen=True)
class ScoringContext:
    """One piece of the data, as ``GradientAlgorithm.score_microbatch`` scores it.

    Attributes:
        model: the model.
        batch: the prompt pairs, on the model's device.
        metric: what to attribute.
        share: the piece's share of the batch that it is judged in.
        start: the first position that can score.
        scorer: where scores are added.
        counterfactual: what writers are changed to.
    """

    model: ResidualModel
    batch: Batch
    metric: Metric
    share: float
    start: int
    scorer: Scorer
    counterfactual: Counterfactual

    def forward(self, tokens: Int[Tensor, "batch pos"], visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """Run the model on the piece's prompts, clean or corrupt."""
        return self.model.forward(replace(self.batch.clean_prompts, tokens=tokens), visit)

    def record(self, tokens: Int[Tensor, "batch pos"]) -> tuple[Writers, Float[Tensor, "batch vocab"]]:
        """What every writer adds on the piece's prompts, clean or corrupt, and their logits; without gradients."""
        recorder = WriterRecorder(self.model, self.start)
        with torch.no_grad():
            logits = self.forward(tokens, recorder.visitors())
        return recorder.writers(), logits

    def value(self, logits: Float[Tensor, "batch vocab"]) -> float:
        """The piece's share of the metric."""
        with torch.no_grad():
            return self.share * float(self.metric(logits, self.batch))

    def corrupt(self) -> tuple[Writers | None, float | None]:
        """The run that writers are changed to, and the share of the metric on it; ``None`` if it is no run."""
        if not self.counterfactual.corrupt:
            return None, None
        writers, logits = self.record(self.batch.corrupt)
        return writers, self.value(logits)

    def target(self, corrupt: Writers | None) -> Writers:
        """What writers are changed to: the run on the corrupt prompts, if it is that, or a constant."""
        if corrupt is not None and self.counterfactual.corrupt:
            return corrupt
        return self.counterfactual.constant(self.batch)

    def change(self, corrupt: Writers | None, clean: Writers) -> Writers:
        """How much every writer changes."""
        return self.target(corrupt).minus(clean)

    def gradients(
        self,
        tokens: Int[Tensor, "batch pos"],
        *visitors: Mapping[Site, Visitor],
        weight: float = 1.0,
        frozen_norms: bool = False,
        cut: frozenset[LayerSite] = frozenset(),
    ) -> tuple[ReaderGradients, float]:
        """Run the model on prompts, changed by visitors, and take the gradient of minus the metric at every reader.

        Args:
            tokens: the prompts, clean or corrupt.
            *visitors: what to do at sites; their values are what the readers see.
            weight: times the gradient, for means over several runs.
            frozen_norms: whether the visitors hold the norms' scales constant, so that the readers' own are, too.
            cut: readers whose gradient is taken to be zero.

        Returns:
            The gradients, weighted; and the piece's share of the metric on this run, not weighted.
        """
        recorder = GradientRecorder(self.model, self.start, frozen_norms, cut)
        logits = self.forward(tokens, merge(*visitors, recorder.visitors()))
        value = self.share * self.metric(logits, self.batch)
        return recorder.gradients(-weight * value), float(value.detach())

    def add_clean_run(self, rules: Mapping[Site, Visitor], *, frozen_norms: bool = False) -> tuple[float, float | None]:
        """Add the scores by the gradient on the clean run, of which some backward rules may be changed.

        Args:
            rules: the visitors that change them.
            frozen_norms: whether these hold the norms' scales constant.

        Returns:
            What ``GradientAlgorithm.score_microbatch`` returns.
        """
        other, on_corrupt = self.corrupt()
        clean = WriterRecorder(self.model, self.start)
        gradients, on_clean = self.gradients(self.batch.clean, rules, clean.visitors(), frozen_norms=frozen_norms)
        self.add(self.change(other, clean.writers()), gradients)
        return on_clean, on_corrupt

    def add(self, change: Writers, gradients: ReaderGradients) -> None:
        """Add the scores of one run."""
        with torch.no_grad():
            self.scorer.add(change, gradients, self.start)


class GradientAlgorithm(Algorithm[O]):
    """A method that multiplies changes of writers by gradients at readers."""

    levels: ClassVar[tuple[Level, ...]] = ("edge", "node", "neuron")

    @abstractmethod
    def score_microbatch(self, context: ScoringContext, options: O) -> tuple[float | None, float | None]:
        """Add the scores of one piece of the data.

        Returns:
            The piece's share of the metric on the clean and on the corrupt prompts; ``None`` if that was not run.
        """

    def cost(self, options: O, graph: Graph) -> Cost:
        """One forward pass on the corrupt prompts, one on the clean ones and back."""
        return Cost(forwards=1 + options.ablation_passes, backwards=1)

    def on_clean(self, options: O) -> bool:
        """Whether gradients are taken on the clean run only."""
        return self.gradient_run == "clean"

    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: O,
        progress: Progress,
    ) -> Attribution:
        """See ``Algorithm.attribute``."""
        if metric.flat_when_clean and self.on_clean(options):
            raise UsageError(
                f"metric {metric.name!r} is at its best on the clean run, where {self.name} takes the gradient, so "
                f"every score would be zero; choose another metric, such as logit_diff, or another algorithm, such "
                f"as eap-ig-inputs"
            )
        counterfactual = Counterfactual(model, data, options.ablation)
        n_positions = max(piece.batch.clean.shape[1] for piece in data) if options.positions else None
        kind = NeuronScorer if options.level == "neuron" else EdgeScorer
        scorer = kind(model, _dtype(options, model), n_positions)
        seen: list[tuple[float | None, float | None]] = []
        for batch, share, _ in data:
            if not options.answer_diff:
                batch = replace(batch, wrong_answers=torch.full_like(batch.wrong_answers, NO_ANSWER))
            start = first_difference(batch) if counterfactual.corrupt else 0
            context = ScoringContext(model, batch.to(model.device), metric, share, start, scorer, counterfactual)
            seen.append(self.score_microbatch(context, options))
            progress()
        total = sum(piece.share for piece in data)
        matrix = scorer.matrix if options.positions else scorer.matrix[0]
        clean, corrupt = (_mean(values, total) for values in zip(*seen, strict=True))
        return Attribution(
            *_at_level(model.graph, matrix, options), clean_metric=clean, corrupt_metric=corrupt, level=options.level
        )


def first_difference(batch: Batch) -> int:
    """The first position at which any prompt's clean and corrupt tokens differ; no earlier one can score.

    With identical prompts, the last position: all scores are zero there, too.
    """
    differs = (batch.clean != batch.corrupt).any(dim=0).nonzero()
    return int(differs[0, 0]) if len(differs) else batch.clean.shape[1] - 1


def _mean(shares: Sequence[float | None], total: float) -> float | None:
    """The metric from all pieces' shares; ``None`` if one is missing."""
    known = [share for share in shares if share is not None]
    return sum(known) / total if len(known) == len(shares) else None


def _at_level(graph: Graph, matrix: Tensor, options: GradientOptions) -> tuple[Graph, Tensor]:
    """Edge scores as they were asked for; a node's first-order score is the sum over the edges that leave it."""
    if options.level == "edge" and options.qkv == "summed":
        return sum_qkv(graph, matrix)
    return graph, matrix.sum(-1) if options.level == "node" else matrix


def _dtype(options: Any, model: ResidualModel) -> torch.dtype:
    if options.dtype == "auto":
        return model.score_dtype
    return {"float32": torch.float32, "float64": torch.float64}[options.dtype]
