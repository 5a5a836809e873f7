"""The strongest edges that are found going back from the logits."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush

import torch

from eap_plugin.circuits.selection.base import Scores, Selected, Selection, scored, strength
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
        n_readers = len(scores.graph.readers)
        allowed = scored(scores)
        ranked = strength(scores.matrix.cpu(), signed).masked_fill(~allowed, -torch.inf)
        order = ranked.flatten().sort(descending=True, stable=True).indices
        rank = torch.empty_like(order)
        rank[order] = torch.arange(len(order))
        into = rank.view(allowed.shape).T
        feeds = reader_feeds(scores.graph)

        chosen = torch.zeros(allowed.numel(), dtype=torch.bool)
        reached = torch.zeros(n_readers, dtype=torch.bool)
        reached[-1] = True
        candidates = into[-1][allowed[:, -1]].tolist()
        heapify(candidates)
        for _ in range(min(size, int(allowed.sum()))):
            edge = int(order[heappop(candidates)])
            chosen[edge] = True
            new = feeds[:, edge // n_readers] & ~reached
            reached |= new
            for place in into[new][allowed.T[new]].tolist():
                heappush(candidates, place)
        return Selected(chosen.view(allowed.shape))
