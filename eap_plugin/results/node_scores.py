"""Scores of writers: one signed number per node, or one per dimension of each writer's output (neuron)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import UsageError, unknown_name
from eap_plugin.model.graph import Graph
from eap_plugin.results.displayable import Displayable
from eap_plugin.results.grouped import Grouped
from eap_plugin.results.storage import ScoreFile, read_score_file


class Node(NamedTuple):
    """A writer, or one dimension of its output (``m2[301]``), with its score; the rest is as in ``Edge``."""

    name: str
    score: float
    position: int | None = None
    stderr: float | None = None


@dataclass(frozen=True, eq=False)
class NodeScores(Grouped, Displayable):
    """The score of every writer of a model.

    A positive score means that replacing this writer's output with its counterfactual value lowers the metric.

    Attributes:
        graph: the model's graph; its ``sources`` are the writers, in the order of the matrix's rows.
        matrix: [sources] or [pos, sources] for nodes; [sources, d_model] or [pos, sources, d_model] for neurons.
        level: ``node``, or ``neuron`` for dimensions of the residual stream.
        metadata: the provenance of the scores, as for ``PruneScores``.
        groups: the scores summed over the prompts of each group, as for ``PruneScores``.
        group_weights: see ``eap_plugin.results.grouped.Grouped``.
    """

    graph: Graph
    matrix: Float[Tensor, "*pos sources *d_model"]
    level: Literal["node", "neuron"] = "node"
    metadata: dict[str, Any] = field(default_factory=dict)
    groups: Float[Tensor, "groups *pos sources *d_model"] | None = None
    group_weights: Float[Tensor, "groups 2"] | None = None

    def __post_init__(self) -> None:
        """Check the shape."""
        n = len(self.graph.sources)
        axis = self.matrix.ndim - (1 if self.level == "node" else 2)
        if axis not in (0, 1) or self.matrix.shape[axis] != n:
            shape = f"[sources={n}]" if self.level == "node" else f"[sources={n}, d_model]"
            raise UsageError(
                f"{self.level} scores for this graph must be {shape}, optionally with a leading position axis; "
                f"got {list(self.matrix.shape)}"
            )
        self._check_groups()

    def __getitem__(self, source: str) -> Float[Tensor, "*pos *d_model"]:
        """Return the score or scores of a writer, given its name, such as ``a0.h1``."""
        if source not in self.graph.rows:
            raise unknown_name("source", source, self.graph.sources)
        return self.matrix.select(int(self.has_positions), self.graph.rows[source])

    @property
    def n_scored(self) -> int:
        """Number of scored writers or neurons, not counting positions."""
        return self.matrix[0].numel() if self.has_positions else self.matrix.numel()

    def __eq__(self, other: object) -> bool:
        """Return whether the graphs and all scores are equal; metadata and sums over groups may differ."""
        if not isinstance(other, NodeScores):
            return NotImplemented
        return self.graph == other.graph and torch.equal(self.matrix, other.matrix)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Summarize the scores in one line."""
        algorithm = self.metadata.get("algorithm", self.level)
        pos = f", {len(self.matrix)} positions" if self.has_positions else ""
        return f"<NodeScores: {algorithm} scores of {self.n_scored} {self.level}s{pos}>"

    @property
    def has_positions(self) -> bool:
        """Whether scores are kept per token position."""
        return self.matrix.ndim == (2 if self.level == "node" else 3)

    def top(self, k: int) -> list[Node]:
        """Return the ``k`` nodes or neurons of largest absolute score, largest first, ties in the graph's order."""
        flat = self.matrix.flatten()
        order = torch.sort(flat.abs(), descending=True, stable=True).indices[: max(0, k)].tolist()
        errors = None if self.groups is None else self.stderr.flatten()
        return [
            self._node_at(index, float(flat[index]), None if errors is None else float(errors[index]))
            for index in order
        ]

    def _node_at(self, index: int, score: float, stderr: float | None) -> Node:
        rest, dimension = divmod(index, self.matrix.shape[-1]) if self.level == "neuron" else (index, None)
        position, row = divmod(rest, len(self.graph.sources))
        name = self.graph.sources[row] + ("" if dimension is None else f"[{dimension}]")
        return Node(name, score, position if self.has_positions else None, stderr)

    def sum_positions(self) -> NodeScores:
        """Sum the scores over token positions; return them unchanged if they are not kept per position."""
        if not self.has_positions:
            return self
        about = self.metadata | {"derived": [*self.metadata.get("derived", []), "summed over positions"]}
        groups = None if self.groups is None else self.groups.sum(1)
        return replace(self, matrix=self.matrix.sum(0), metadata=about, groups=groups)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file; see ``eap_plugin.results.storage``."""
        ScoreFile(self.level, self.graph, self.matrix, self.metadata, self.groups, self.group_weights).write(path)

    @staticmethod
    def load(path: str | Path, graph: Graph | None = None) -> NodeScores:
        """Read a file that ``save`` wrote; see ``PruneScores.load``."""
        content = read_score_file(path, graph)
        if content.level == "edge":
            raise UsageError(f"{path} contains edge scores; load it with PruneScores.load")
        level: Literal["node", "neuron"] = "neuron" if content.level == "neuron" else "node"
        about = content.metadata, content.groups, content.group_weights
        return NodeScores(content.graph, content.matrix, level, *about)
