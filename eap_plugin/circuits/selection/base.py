"""The interface of selection methods, which choose the edges, nodes or neurons of a circuit by their scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

O = TypeVar("O")  # noqa: E741 - a method's options

Scores = PruneScores | NodeScores


@dataclass(frozen=True)
class Selected:
    """What a method selected.

    Attributes:
        mask: true at what is selected, in the shape of the scores' matrix.
        notes: what there is to say about the selection, such as whether it is optimal, by name; plain values, which
            the circuit keeps in its metadata and ``eap circuit`` prints.
    """

    mask: Bool[Tensor, "sources *columns"]
    notes: dict[str, Any] = field(default_factory=dict)


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
    def select(self, scores: Scores, size: int, signed: bool, options: O) -> Selected:
        """Select exactly ``size`` edges, nodes or neurons, or all if there are fewer; ties in the graph's order.

        A method that optimizes may select fewer, if that is better by its measure; it must not select more.

        Args:
            scores: the scores, without a position axis.
            size: the number to select.
            signed: prefer large scores, negative ones last; if false, large absolute scores.
            options: this method's options.
        """

    def order(self, scores: Scores, signed: bool, options: O) -> Int[Tensor, "selected"] | None:
        """Return the indices of the flat matrix in the order in which they are selected as the size grows.

        The first ``size`` of them are what ``select`` selects. By default ``None``: the order is not known, or smaller
        selections are not part of larger ones.
        """
        return None


def scored(scores: Scores) -> Bool[Tensor, "sources *columns"]:
    """Return a mask of what has a score: the graph's edges, or all nodes or neurons."""
    if isinstance(scores, PruneScores):
        return edge_mask(scores.graph)
    return torch.ones(scores.matrix.shape, dtype=torch.bool)


def strength(matrix: Float[Tensor, "..."], signed: bool) -> Float[Tensor, "..."]:
    """Return what is ranked: the scores, or their absolute values."""
    return matrix if signed else matrix.abs()


def best(
    ranked: Float[Tensor, "sources *columns"],
    allowed: Bool[Tensor, "sources *columns"],
    size: int,
    first: Bool[Tensor, "sources *columns"] | None = None,
) -> Bool[Tensor, "sources *columns"]:
    """Return a mask of the ``size`` largest allowed entries; ties in the order of the matrix.

    Args:
        ranked: the numbers to compare.
        allowed: true at what may be selected.
        size: the number to select.
        first: true at entries that are selected before all others; at most ``size`` of them.
    """
    chosen = torch.zeros(ranked.numel(), dtype=torch.bool) if first is None else first.flatten().clone()
    chosen[ranking(ranked, allowed & ~chosen.view(allowed.shape))[: size - int(chosen.sum())]] = True
    return chosen.view(ranked.shape)


def ranking(
    ranked: Float[Tensor, "sources *columns"], allowed: Bool[Tensor, "sources *columns"]
) -> Int[Tensor, "allowed"]:
    """Return the flat indices of the allowed entries, the largest first; ties in the order of the matrix."""
    masked = ranked.flatten().masked_fill(~allowed.flatten(), -torch.inf)
    return masked.sort(descending=True, stable=True).indices[: int(allowed.sum())]
