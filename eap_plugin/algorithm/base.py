"""What an algorithm (prune-score provider) is: a name, typed options, a declared cost, and ``attribute``."""

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
    """Passes through the model for each piece of the data; each runs as many prompts as the piece has pairs.

    A run on several copies of a piece counts as that many passes.
    """

    forwards: int
    backwards: int


class Progress(Protocol):
    """Hears how far an algorithm is."""

    def __call__(self, pieces: float = 1.0) -> None:
        """So many more pieces of the data are done: one, or what part of the work on them."""


@dataclass(frozen=True)
class Attribution:
    """What an algorithm gives.

    Attributes:
        graph: the model's graph, or with q, k and v summed.
        matrix: the scores, with a leading position axis or not: of edges [sources, readers], zero where there is no
            edge; of nodes [sources]; of neurons [sources, d_model].
        clean_metric: the metric on the clean prompts, averaged over batches, if it came up on the way.
        corrupt_metric: likewise on the corrupt prompts.
        level: what is scored: edges, nodes (writers) or neurons (dimensions of what a writer adds).
    """

    graph: Graph
    matrix: Float[Tensor, "*pos sources *columns"]
    clean_metric: float | None = None
    corrupt_metric: float | None = None
    level: Level = "edge"


class Algorithm(ABC, Generic[O]):
    """A prune-score provider.

    Attributes:
        name: how it is chosen on the command line.
        summary: one line on what it does.
        reference: the paper it is from.
        gradient_run: which run gradients are taken on: ``clean``, ``corrupt``, ``between`` or ``none``.
        sign: what the sign of a score says.
        additive: whether scores of batches, and of pieces by their shares, add up; false where a method looks at all
            of them together.
        local_options: options that name files of this machine, which no run on a server can have.
        options: the frozen dataclass of its options, fields declared with ``eap_plugin.host.options.option``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    gradient_run: ClassVar[str] = "none"
    additive: ClassVar[bool] = True
    sign: ClassVar[str] = "positive: feeding the corrupt value through this edge alone lowers the metric"
    local_options: ClassVar[tuple[str, ...]] = ()
    options: type[O]

    @abstractmethod
    def cost(self, options: O, graph: Graph) -> Cost:
        """How many passes each piece of the data takes with these options, on a model of this graph."""

    @abstractmethod
    def attribute(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: O,
        progress: Progress,
    ) -> Attribution:
        """Score every edge.

        Runs where the weights are, on a frozen model with gradients enabled.

        Args:
            model: the model, its tokens on ``model.device``.
            data: the prompt pairs; scores of pieces add up.
            metric: what to attribute; a positive score means that corrupting this edge alone lowers it.
            options: this algorithm's options.
            progress: to be called once after each piece, or more often with parts of pieces that add up to all.
        """
