"""The content that EAP-IG's files of a graph share, whether JSON or ``.pt``.

Source: EAP-IG's ``Graph.to_json``, ``from_json``, ``to_pt`` and ``from_pt`` (github.com/hannamw/EAP-IG). Names and
order of nodes and edges are this package's, with one k and one v reader for each query head. Their scores are divided
by the number of prompts, ours are not (see docs/scores.md), and the number is not in the file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.pruning import connected_nodes
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.errors import UsageError, shown
from eap_plugin.model.edge_matrix import ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import stored_graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.storage import check_finite
from eap_plugin.score_format.base import Contents, Exportable
from eap_plugin.score_format.grouping import regroup_circuit, regroup_scores, split_groups, ungroup_circuit

PER_PROMPT = "per prompt"
"""The value of ``scale`` in the metadata of scores that are divided by the number of prompts."""


@dataclass(frozen=True)
class GraphFile:
    """The content of a file of EAP-IG's ``Graph``.

    Attributes:
        graph: the model's graph, with one k and one v reader for each query head.
        d_model: the width of the residual stream.
        edges: true at the edges in the circuit; none are if the file has scores alone.
        nodes: true at the writers in the circuit.
        edge_scores: the scores of edges; ``None`` if the file has none.
        node_scores: the scores of writers, if the file has any.
        neurons: true at the kept neurons of each writer, if the file says.
        neuron_scores: the scores of neurons, if the file has any.
    """

    graph: Graph
    d_model: int
    edges: Bool[Tensor, "sources readers"]
    nodes: Bool[Tensor, "sources"]
    edge_scores: Float[Tensor, "sources readers"] | None = None
    node_scores: Float[Tensor, "sources"] | None = None
    neurons: Bool[Tensor, "sources d_model"] | None = None
    neuron_scores: Float[Tensor, "sources d_model"] | None = None

    @property
    def cfg(self) -> dict[str, Any]:
        """The sizes of the model, as EAP-IG names them."""
        return {
            "n_layers": self.graph.n_layers,
            "n_heads": self.graph.n_heads,
            "parallel_attn_mlp": self.graph.parallel,
            "d_model": self.d_model,
        }

    def contents(self, graph: Graph | None) -> Contents:
        """Return the scores of the finest level that the file has, and the circuit if there is an edge in it."""
        about = {"format": "EAP-IG", "scale": PER_PROMPT, "d_model": self.d_model}
        scores = self._scores(about)
        circuit = None
        if scores is None or bool(self.edges.any()):
            known = self.edge_scores is not None and bool(self.edge_scores.any())
            of_edges = self.edge_scores if known else None
            circuit = regroup_circuit(Circuit(self.graph, self.edges, self.neurons, of_edges, about), graph)
        if isinstance(scores, PruneScores):
            scores = regroup_scores(scores, graph)
        elif scores is not None and graph is not None:
            scores = NodeScores(_same_writers(scores.graph, graph), scores.matrix, scores.level, scores.metadata)
        return Contents(scores, circuit)

    def _scores(self, about: dict[str, Any]) -> Scores | None:
        if self.neuron_scores is not None and not bool(self.neuron_scores.isnan().all()):
            check_finite(self.neuron_scores)
            return NodeScores(self.graph, self.neuron_scores, "neuron", about)
        if self.node_scores is not None and not bool(self.node_scores.isnan().all()):
            check_finite(self.node_scores)
            return NodeScores(self.graph, self.node_scores, "node", about)
        if self.edge_scores is None or (bool(self.edges.any()) and not bool(self.edge_scores.any())):
            return None
        check_finite(self.edge_scores)
        return PruneScores(self.graph, self.edge_scores, about)


def graph_of(cfg: object, n_writers: int) -> tuple[Graph, int]:
    """Return the graph and the width of a model whose sizes are in the file.

    Args:
        cfg: the sizes.
        n_writers: the number of writers that the file has, which the sizes must give, too.

    Raises:
        UsageError: if a size is missing or has the wrong type, or they do not give this number of writers.
    """
    if not isinstance(cfg, dict):
        raise UsageError(f"cfg must have n_layers, n_heads, parallel_attn_mlp and d_model; got {shown(cfg)}")
    layers, heads, d_model = (_size(cfg, name) for name in ("n_layers", "n_heads", "d_model"))
    parallel = cfg.get("parallel_attn_mlp")
    if not isinstance(parallel, bool):
        raise UsageError(f"parallel_attn_mlp in cfg must be true or false, got {shown(parallel)}")
    if 1 + layers * (heads + 1) != n_writers:
        raise UsageError(
            f"cfg says {layers} layers of {heads} heads, which have {1 + layers * (heads + 1)} writers; "
            f"the file has {n_writers}"
        )
    sizes = {"n_layers": layers, "n_heads": heads, "n_kv_heads": heads, "parallel": parallel}
    return stored_graph(sizes, n_writers), d_model


def file_of(results: Exportable) -> GraphFile:
    """Return what EAP-IG's files hold of scores or a circuit.

    Raises:
        UsageError: if the model's width is not known, or EAP-IG cannot have its graph.
    """
    source = results.graph
    if not source.has_mlp or source.summed_qkv:
        what = "with q, k and v summed" if source.summed_qkv else "without MLPs"
        raise UsageError(f"EAP-IG has no graphs {what}")
    graph = ungrouped(source)
    n_rows, n_columns = len(graph.sources), len(graph.readers)
    edges, nodes = torch.zeros(n_rows, n_columns, dtype=torch.bool), torch.zeros(n_rows, dtype=torch.bool)
    if isinstance(results, Circuit):
        circuit = ungroup_circuit(results)
        scores = None if circuit.scores is None else storable(circuit.scores) / divisor(circuit.metadata)
        width = _width(results.metadata, None if circuit.neurons is None else circuit.neurons.shape[1])
        nodes = connected_nodes(graph, circuit.edges)
        return GraphFile(graph, width, circuit.edges, nodes, scores, neurons=circuit.neurons)
    flat = results.sum_positions()
    matrix = storable(flat.matrix) / divisor(results.metadata)
    if isinstance(flat, PruneScores):
        return GraphFile(graph, _width(flat.metadata, None), edges, nodes, split_groups(source, matrix))
    if flat.level == "node":
        return GraphFile(graph, _width(flat.metadata, None), edges, nodes, node_scores=matrix)
    width = matrix.shape[1]
    none = torch.zeros(n_rows, width, dtype=torch.bool)
    return GraphFile(graph, width, edges, nodes, neurons=none, neuron_scores=matrix)


def losses(results: Exportable) -> list[str]:
    """Return what EAP-IG's files cannot hold of these results."""
    lost = ["the provenance"]
    if not isinstance(results, Circuit) and results.has_positions:
        lost.append("positions: scores are summed over them")
    if results.graph.n_kv_heads < results.graph.n_heads:
        lost.append("key/value heads of several query heads: their scores are split into equal shares, one for each")
    if results.metadata.get("scale") != PER_PROMPT and not _n_prompts(results.metadata):
        lost.append("the scale: the number of prompts is not known, so scores are not divided by it")
    return lost


def divisor(metadata: dict[str, Any]) -> int:
    """Return the number of prompts to divide scores by; 1 if they are divided already, or it is not known."""
    return 1 if metadata.get("scale") == PER_PROMPT else _n_prompts(metadata) or 1


def storable(matrix: Tensor) -> Tensor:
    """Return scores on the CPU, in float64 if they are, else in float32."""
    return matrix.detach().cpu().to(torch.float64 if matrix.dtype == torch.float64 else torch.float32)


def _size(cfg: dict[str, Any], name: str) -> int:
    value = cfg.get(name)
    if type(value) is not int or value < 1:
        raise UsageError(f"{name} in cfg must be a positive integer, got {shown(value)}")
    return value


def _n_prompts(metadata: dict[str, Any]) -> int | None:
    n_prompts = metadata.get("n_prompts")
    return n_prompts if type(n_prompts) is int and n_prompts > 0 else None


def _width(metadata: dict[str, Any], known: int | None) -> int:
    width = metadata.get("d_model") if known is None else known
    if type(width) is not int:
        raise UsageError(
            "EAP-IG's files state the width of the residual stream, which these results do not record; add d_model="
        )
    return width


def _same_writers(found: Graph, expected: Graph) -> Graph:
    """Return the caller's graph, if it has the writers of the file's."""
    if found.sources != expected.sources or found.parallel != expected.parallel:
        raise UsageError(f"the file has another graph: {found}; expected {expected}")
    return expected
