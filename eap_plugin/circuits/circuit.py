"""A circuit: the edges of a model that are kept, optionally with only some neurons of each writer."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.circuits.pruning import connected_nodes, keep_connected
from eap_plugin.circuits.storage import CircuitFile, read_circuit_file
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask, ungroup_columns, ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.results.displayable import Displayable
from eap_plugin.results.prune_scores import Edge


@dataclass(frozen=True, eq=False)
class Circuit(Displayable):
    """A set of a model's edges, which is to carry a behaviour on its own.

    A circuit of nodes has all edges out of its writers; a circuit of neurons has these edges, too, and along them only
    the kept dimensions of each writer's output.

    Attributes:
        graph: the model's graph; or the same with one k and one v reader for each query head (see
            ``model.edge_matrix.ungrouped``), for circuits of other tools.
        edges: true at the edges in the circuit.
        neurons: true at the kept dimensions of each writer's output; ``None`` if all are kept.
        scores: the scores of edges by which it was selected; ``None`` if they are not known.
        metadata: provenance: that of the scores, and under ``selection`` how the circuit was selected from them.
    """

    graph: Graph
    edges: Bool[Tensor, "sources readers"]
    neurons: Bool[Tensor, "sources d_model"] | None = None
    scores: Float[Tensor, "sources readers"] | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check shapes, and that only edges of the graph are in the circuit."""
        shape = [len(self.graph.sources), len(self.graph.readers)]
        if self.edges.dtype != torch.bool or list(self.edges.shape) != shape:
            raise UsageError(
                f"the edges of a circuit of this graph must be a boolean matrix [sources={shape[0]}, "
                f"readers={shape[1]}]; got {list(self.edges.shape)} {self.edges.dtype}"
            )
        outside = (self.edges.cpu() & ~edge_mask(self.graph)).nonzero()
        if len(outside):
            name = self.graph.edge_name(*outside[0].tolist())
            raise UsageError(f"{name} is not an edge: its writer does not come before its reader")
        if self.neurons is not None and (self.neurons.ndim != 2 or len(self.neurons) != shape[0]):
            raise UsageError(
                f"the neurons of a circuit of this graph must be a boolean matrix [sources={shape[0]}, d_model]; "
                f"got {list(self.neurons.shape)}"
            )

    def __eq__(self, other: object) -> bool:
        """Return whether graphs, edges and neurons are equal; scores and metadata may differ."""
        if not isinstance(other, Circuit):
            return NotImplemented
        if (self.neurons is None) != (other.neurons is None) or self.graph != other.graph:
            return False
        same_neurons = self.neurons is None or other.neurons is None or torch.equal(self.neurons, other.neurons)
        return torch.equal(self.edges, other.edges) and same_neurons

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Summarize the circuit in one line."""
        return f"<Circuit: {self.n_edges} of {self.graph.n_edges} edges, {len(self.nodes)} nodes>"

    @property
    def n_edges(self) -> int:
        """The number of edges in the circuit."""
        return int(self.edges.sum())

    @property
    def n_edges_ungrouped(self) -> int:
        """The number of edges with one k and one v reader for each query head, as EAP-IG and MIB count them."""
        return int(self.edges[:, ungroup_columns(self.graph)].sum())

    @property
    def weighted_edge_count(self) -> float:
        """MIB's size: the number of edges as MIB counts them, each times the share of its writer's neurons kept."""
        if self.neurons is None:
            return float(self.n_edges_ungrouped)
        share = self.neurons.double().mean(1)
        return float((self.edges[:, ungroup_columns(self.graph)].double() * share[:, None]).sum())

    @property
    def nodes(self) -> list[str]:
        """The names of the writers that have an edge out and, but for ``input``, an edge in; in the graph's order."""
        rows = connected_nodes(self.graph, self.edges).nonzero().flatten().tolist()
        return [self.graph.sources[row] for row in rows]

    @property
    def edge_names(self) -> list[str]:
        """The names of the edges in the circuit, in the graph's order."""
        return [self.graph.edge_name(row, column) for row, column in self.edges.nonzero().tolist()]

    def top(self, k: int) -> list[Edge]:
        """Return the ``k`` edges of largest absolute score, largest first, ties in the graph's order.

        Raises:
            UsageError: if the scores of the edges are not known.
        """
        if self.scores is None:
            raise UsageError("the scores of this circuit's edges are not known")
        edges = []
        for name, score in zip(self.edge_names, self.scores[self.edges].tolist(), strict=True):
            source, _, reader = name.partition("->")
            edges.append(Edge(name, source, reader, score))
        return sorted(edges, key=lambda edge: -abs(edge.score))[: max(0, k)]

    def __contains__(self, edge: str) -> bool:
        """Return whether an edge, given by name, is in the circuit."""
        return bool(self.edges[self.graph.edge(edge)])

    def pruned(self) -> Circuit:
        """Return the circuit without what is not on a path from ``input`` to the logits."""
        edges = keep_connected(self.graph, self.edges)
        neurons = None if self.neurons is None else self.neurons & edges.any(1, keepdim=True)
        return Circuit(self.graph, edges, neurons, self.scores, self.metadata)

    def complement(self) -> Circuit:
        """Return the circuit of all other edges; only circuits of whole writers have one.

        Raises:
            UsageError: if this is a circuit of neurons.
        """
        if self.neurons is not None:
            raise UsageError("a circuit of neurons has no complement that is a circuit of edges")
        return Circuit(self.graph, edge_mask(self.graph) & ~self.edges, None, self.scores, self.metadata)

    def ungrouped(self) -> Circuit:
        """Return the same circuit with one k and one v reader for each query head; the same if it has these already."""
        columns = ungroup_columns(self.graph)
        scores = None if self.scores is None else self.scores[:, columns]
        return Circuit(ungrouped(self.graph), self.edges[:, columns], self.neurons, scores, self.metadata)

    def save(self, path: str | Path) -> None:
        """Write to a JSON file; see ``eap_plugin.circuits.storage``."""
        CircuitFile(self.graph, self.edges, self.neurons, self.scores, self.metadata).write(path)

    @staticmethod
    def load(path: str | Path, graph: Graph | None = None) -> Circuit:
        """Read a file that ``save`` wrote.

        Args:
            path: the file.
            graph: if given, the graph that the circuit must have.

        Raises:
            UsageError: if the file is missing, was not written by ``save``, is damaged, has a newer schema, or has
                another graph.
            EapPluginError: if the file cannot be read.
        """
        content = read_circuit_file(path, graph)
        return Circuit(content.graph, content.edges, content.neurons, content.scores, content.metadata)
