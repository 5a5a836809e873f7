"""Random circuits of a given size, and random additions to a circuit.

A circuit of edges drawn uniformly is mostly in pieces that lead nowhere, and easily beaten. So Shi et al. (2024, arXiv
2410.13032) draw paths: from ``input``, choose a reader after the writer at hand uniformly, then a writer computed from
it, until the logits are reached; collect the paths' edges until there are enough.

They stop when the circuit has *at least* the size wanted. Here, it has *exactly* that size: of the last path, only as
many edges are taken, from the logits backwards, as are missing. And since a random walk rarely finds the last edges of
a large circuit, the next path after one that adds nothing goes through a uniformly drawn edge not in the circuit yet.
"""

from __future__ import annotations

import random
from typing import Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.model.edge_matrix import edge_mask, reader_feeds
from eap_plugin.model.graph import Graph

Drawn = Literal["paths", "edges"]
Edge = tuple[int, int]


class RandomCircuits:
    """A source of random circuits of one graph.

    Args:
        graph: the graph.
        drawn: what is drawn: "paths", as in the paper, or "edges", uniformly among all edges of the graph.
        seed: the seed.
    """

    def __init__(self, graph: Graph, drawn: Drawn = "paths", seed: int = 0) -> None:
        """List, for every writer and reader, what comes before and after it."""
        mask, feeds = edge_mask(graph), reader_feeds(graph)
        self._drawn = drawn
        self._rng = random.Random(seed)
        self._shape = mask.shape
        self._edges: list[Edge] = [(row, column) for row, column in mask.nonzero().tolist()]
        self._readers_of = [row.nonzero().flatten().tolist() for row in mask]
        self._writers_into = [column.nonzero().flatten().tolist() for column in mask.T]
        self._writers_from = [reader.nonzero().flatten().tolist() for reader in feeds]
        self._readers_behind = [writer.nonzero().flatten().tolist() for writer in feeds.T]

    def circuit(self, size: int) -> Bool[Tensor, "sources readers"]:
        """Draw a circuit of exactly ``size`` edges, at most as many as the graph has."""
        if self._drawn == "edges":
            return self._matrix(set(self._rng.sample(self._edges, size)))
        kept: set[Edge] = set()
        while len(kept) < size:
            kept.update(self._addition(kept)[-(size - len(kept)) :])
        return self._matrix(kept)

    def addition(
        self, circuit: Bool[Tensor, "sources readers"]
    ) -> tuple[Bool[Tensor, "sources readers"], Bool[Tensor, "sources readers"]]:
        """Draw an addition to a circuit that lacks an edge: a path or, if edges are drawn, an edge.

        Returns:
            The circuit with the addition, and the same without one of the edges added, uniformly drawn.
        """
        kept = {(row, column) for row, column in circuit.nonzero().tolist()}
        added = [self._missing(kept)] if self._drawn == "edges" else self._addition(kept)
        inflated = kept | set(added)
        return self._matrix(inflated), self._matrix(inflated - {self._rng.choice(added)})

    def _addition(self, kept: set[Edge]) -> list[Edge]:
        """Draw a path, and return its edges that are not kept yet; at least one."""
        path = self._onwards(0)
        if kept.issuperset(path):
            row, column = self._missing(kept)
            writers = self._writers_from[column]
            onwards = self._onwards(self._rng.choice(writers)) if writers else []
            path = [*self._back_from(row), (row, column), *onwards]
        return [edge for edge in path if edge not in kept]

    def _missing(self, kept: set[Edge]) -> Edge:
        while (edge := self._rng.choice(self._edges)) in kept:
            pass
        return edge

    def _onwards(self, row: int) -> list[Edge]:
        """Walk from a writer to the logits, which alone feed no writer."""
        path = []
        while True:
            column = self._rng.choice(self._readers_of[row])
            path.append((row, column))
            if not self._writers_from[column]:
                return path
            row = self._rng.choice(self._writers_from[column])

    def _back_from(self, row: int) -> list[Edge]:
        """Walk from a writer back to ``input``, which alone is computed from no reader."""
        path: list[Edge] = []
        while self._readers_behind[row]:
            column = self._rng.choice(self._readers_behind[row])
            row = self._rng.choice(self._writers_into[column])
            path.insert(0, (row, column))
        return path

    def _matrix(self, edges: set[Edge]) -> Bool[Tensor, "sources readers"]:
        matrix = torch.zeros(self._shape, dtype=torch.bool)
        if edges:
            matrix[tuple(torch.tensor(sorted(edges)).T)] = True
        return matrix
