"""The strongest edges that are found going back from the logits."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import torch
from jaxtyping import Int
from torch import Tensor

from eap_plugin.circuits.selection.base import Scores, Selected, Selection, ranking, scored, strength
from eap_plugin.model.edge_matrix import reader_feeds


@dataclass(frozen=True)
class GreedyOptions:
    """No options."""


class Greedy(Selection[GreedyOptions]):
    """One edge after the other: each time the strongest of those into what has been reached so far.

    At first only the logits are reached. An edge reaches its writer, and with it the readers that this writer is
    computed from: a head's q, k and v inputs, or an MLP's input.
    """

    name = "greedy"
    summary = "each time the strongest edge into what was reached from the logits"
    reference = "EAP-IG, Graph.apply_greedy (Hanna et al. 2024, arXiv 2403.17806)"
    levels = ("edge",)
    options = GreedyOptions

    def select(self, scores: Scores, size: int, signed: bool, options: GreedyOptions) -> Selected:
        """Select ``size`` edges, each of which leads to the logits; see ``Selection.select``."""
        chosen = torch.zeros(scored(scores).numel(), dtype=torch.bool)
        chosen[_reached(scores, size, signed)] = True
        return Selected(chosen.view(scores.matrix.shape))

    def order(self, scores: Scores, signed: bool, options: GreedyOptions) -> Int[Tensor, "selected"]:
        """See ``Selection.order``."""
        return torch.tensor(_reached(scores, scores.graph.n_edges, signed), dtype=torch.long)


def _reached(scores: Scores, size: int, signed: bool) -> list[int]:
    """Return the flat indices of the first ``size`` edges that the search takes, in the order in which it does."""
    n_readers = len(scores.graph.readers)
    allowed = scored(scores)
    order = ranking(strength(scores.matrix.cpu(), signed), allowed)
    rank = torch.zeros(allowed.numel(), dtype=torch.long)
    rank[order] = torch.arange(len(order))
    into = rank.view(allowed.shape).T
    feeds = reader_feeds(scores.graph)

    found: list[int] = []
    writers: set[int] = set()
    reached = torch.zeros(n_readers, dtype=torch.bool)
    reached[-1] = True
    candidates = into[-1][allowed[:, -1]].tolist()
    heapify(candidates)
    for _ in range(min(size, len(order))):
        edge = int(order[heappop(candidates)])
        found.append(edge)
        writer = edge // n_readers
        if writer in writers:
            continue
        writers.add(writer)
        new = feeds[:, writer] & ~reached
        reached |= new
        for place in into[new][allowed.T[new]].tolist():
            heappush(candidates, place)
    return found
