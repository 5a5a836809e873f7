"""The interface of selection methods, which choose the edges, nodes or neurons of a circuit by their scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

O = TypeVar("O")  # noqa: E741 - a method's options

Scores = PruneScores | NodeScores


class Selection(ABC, Generic[O]):
    """A method that selects a given number of edges, nodes or neurons.

    Attributes:
        name: the name by which users choose it.
        summary: one line that says what it does.
        reference: the paper or tool it comes from.
        levels: the levels of scores that it can select from.
        nested: whether a smaller selection is always part of a larger one.
        options: the frozen dataclass of its options, fields declared with ``eap_plugin.host.options.option``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    levels: ClassVar[tuple[str, ...]] = ("edge", "node", "neuron")
    nested: ClassVar[bool] = True
    options: type[O]

    @abstractmethod
    def select(self, scores: Scores, size: int, signed: bool, options: O) -> Bool[Tensor, "sources *columns"]:
        """Select exactly ``size`` edges, nodes or neurons, or all if there are fewer; ties in the graph's order.

        Args:
            scores: the scores, without a position axis.
            size: the number to select.
            signed: prefer large scores; if false, large absolute scores.
            options: this method's options.

        Returns:
            A mask of the shape of ``scores.matrix``.
        """


def scored(scores: Scores) -> Bool[Tensor, "sources *columns"]:
    """Return a mask of what has a score: the graph's edges, or all nodes or neurons."""
    if isinstance(scores, PruneScores):
        return edge_mask(scores.graph)
    return torch.ones(scores.matrix.shape, dtype=torch.bool)


def strength(matrix: Float[Tensor, "..."], signed: bool) -> Float[Tensor, "..."]:
    """Return what is ranked: the scores, or their absolute values."""
    return matrix if signed else matrix.abs()


def best(
    ranked: Float[Tensor, "sources *columns"], allowed: Bool[Tensor, "sources *columns"], size: int
) -> Bool[Tensor, "sources *columns"]:
    """Return a mask of the ``size`` largest allowed entries; ties in the order of the matrix."""
    order = torch.sort(ranked.masked_fill(~allowed, -torch.inf).flatten(), descending=True, stable=True).indices
    chosen = torch.zeros(ranked.numel(), dtype=torch.bool)
    chosen[order[: min(size, int(allowed.sum()))]] = True
    return chosen.view(ranked.shape)
