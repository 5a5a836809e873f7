"""The interface of algorithms (prune-score providers).

An algorithm has a name, typed options, a declared cost, and a method ``attribute``, which receives a model and prompt
pairs and returns a matrix of scores. It sees a ``ResidualModel`` only, and therefore runs on every backend.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar

from jaxtyping import Float
from torch import Tensor

from eap_plugin.data.microbatches import Microbatch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel

O = TypeVar("O")  # noqa: E741 - an algorithm's options


Level = Literal["edge", "node", "neuron"]


class Cost(NamedTuple):
    """The number of passes through the model for each microbatch; a pass runs one prompt of every pair.

    A run on several copies of a microbatch counts as that many passes.
    """

    forwards: int
    backwards: int


class Progress(Protocol):
    """A callback that receives the progress of an algorithm."""

    def __call__(self, pieces: float = 1.0) -> None:
        """Report that so many more microbatches are done; fractions report part of the work on them."""


@dataclass(frozen=True)
class Attribution:
    """The result of an algorithm.

    Attributes:
        graph: the model's graph, or the same with q, k and v summed.
        matrix: the scores, optionally with a leading position axis: [sources, readers] for edges, zero where there is
            no edge; [sources] for nodes; [sources, d_model] for neurons.
        clean_metric: the metric on the clean prompts, averaged over batches; ``None`` if it was not computed.
        corrupt_metric: the metric on the corrupt prompts, likewise.
        level: what is scored: edges, nodes (writers) or neurons (dimensions of a writer's output).
        groups: the scores summed over the prompts of each group, [groups, *shape of the matrix]; their sum is the
            matrix. ``None`` if prompts are not grouped.
    """

    graph: Graph
    matrix: Float[Tensor, "*pos sources *columns"]
    clean_metric: float | None = None
    corrupt_metric: float | None = None
    level: Level = "edge"
    groups: Float[Tensor, "groups *pos sources *columns"] | None = None


class Algorithm(ABC, Generic[O]):
    """A prune-score provider.

    Attributes:
        name: the name by which users select it.
        summary: one line that says what it does.
        reference: the paper that introduced it.
        gradient_run: the run on which gradients are taken: ``clean``, ``corrupt``, ``between`` or ``none``.
        sign: the meaning of a score's sign.
        score_unit: the unit of the scores, such as ``probability``; empty for that of the metric.
        additive: whether the scores of all data are the sum of the scores of its batches, and those of a batch the sum
            over its microbatches, weighted by share; false for a method that needs all data together.
        shares_prefix: whether with ``ablation="corrupt"`` it leaves the positions before the first difference of clean
            and corrupt prompts to a prefix: it takes its batches from ``with_prefix``, and scores these positions zero.
        depends_on_split: whether its scores depend on how batches are split into microbatches, as those of a loss that
            is not linear in the metric.
        keeps_groups: whether ``attribute`` returns sums over groups (``Batch.groups``) itself. If not, an additive
            algorithm is run on the prompts of each group separately.
        score_options: options that name a file of scores of edges of the same graph. The file is read where the user
            is, and ``attribute`` receives the matrix, [sources, readers], in place of the name.
        local_options: options that name local files, which a run on a server cannot use.
        options: the frozen dataclass of its options, fields declared with ``eap_plugin.host.options.option``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    gradient_run: ClassVar[str] = "none"
    additive: ClassVar[bool] = True
    shares_prefix: ClassVar[bool] = False
    depends_on_split: ClassVar[bool] = False
    keeps_groups: ClassVar[bool] = False
    sign: ClassVar[str] = "positive: feeding the corrupt value through this edge alone lowers the metric"
    score_unit: ClassVar[str] = ""
    score_options: ClassVar[tuple[str, ...]] = ()
    local_options: ClassVar[tuple[str, ...]] = ()
    options: type[O]

    @abstractmethod
    def cost(self, options: O, graph: Graph) -> Cost:
        """Return the passes that each microbatch takes with these options, on a model with this graph."""

    @abstractmethod
    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: O,
        progress: Progress,
    ) -> Attribution:
        """Score every edge, node or neuron.

        This runs on the machine that has the weights, on a frozen model, with gradients enabled.

        Args:
            model: the model; it takes tokens on ``model.device``.
            data: the prompt pairs; scores are summed over microbatches, weighted by their shares.
            metric: what to attribute; a positive score means that corrupting this edge alone lowers it.
            options: this algorithm's options.
            progress: a callback, to be called after each microbatch, or more often with fractions of microbatches.
        """
