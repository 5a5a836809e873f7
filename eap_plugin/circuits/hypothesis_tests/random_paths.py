"""Random circuits that are made of paths, and random paths added to a circuit.

A circuit of edges drawn uniformly (``circuits.random_circuits``) is mostly in pieces that lead nowhere, and easily
beaten. So Shi et al. (2024, arXiv 2410.13032) draw paths: from ``input``, choose a reader after the writer at hand
uniformly, then a writer computed from it, until the logits are reached; collect edges of paths until there are enough.

They stop when the circuit has *at least* the size wanted. Here, it has *exactly* that size: of the last path, only as
many edges are taken, from the logits backwards, as are missing. And since a random walk rarely finds the last edges of
a large circuit, the next path after one that adds nothing goes through a uniformly drawn edge not in the circuit yet.
"""

from __future__ import annotations

import random

import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.model.edge_matrix import edge_mask, reader_feeds
from eap_plugin.model.graph import Graph

Edge = tuple[int, int]


class RandomPaths:
    """A source of random paths of one graph, always the same for the same seed."""

    def __init__(self, graph: Graph, seed: int) -> None:
        """List, for every writer and reader, what comes before and after it."""
        mask, feeds = edge_mask(graph), reader_feeds(graph)
        self._rng = random.Random(seed)
        self._shape = mask.shape
        self._edges: list[Edge] = [(row, column) for row, column in mask.nonzero().tolist()]
        self._readers_of = [row.nonzero().flatten().tolist() for row in mask]
        self._writers_into = [column.nonzero().flatten().tolist() for column in mask.T]
        self._writers_from = [reader.nonzero().flatten().tolist() for reader in feeds]
        self._readers_behind = [writer.nonzero().flatten().tolist() for writer in feeds.T]

    def circuit(self, size: int) -> Bool[Tensor, "sources readers"]:
        """Draw a circuit of exactly ``size`` edges, at most as many as the graph has."""
        kept: set[Edge] = set()
        while len(kept) < size:
            kept.update(self._addition(kept)[-(size - len(kept)) :])
        return self._matrix(kept)

    def added(
        self, circuit: Bool[Tensor, "sources readers"]
    ) -> tuple[Bool[Tensor, "sources readers"], Bool[Tensor, "sources readers"]]:
        """Draw a path with an edge that the circuit lacks.

        Returns:
            The circuit with the path added, and the same without one of the added edges, uniformly drawn.
        """
        kept = {(row, column) for row, column in circuit.nonzero().tolist()}
        added = self._addition(kept)
        inflated = kept.union(added)
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
