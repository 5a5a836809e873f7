"""EAP-IG's ``.pt`` files of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eap_plugin.errors import UsageError, shown
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.eap_ig.graph_file import GraphFile, file_of, graph_of, losses
from eap_plugin.score_format.torch_file import load_torch_file, pickled_text, save_torch_file


class EapIgPt(ScoreFormat):
    """The files of EAP-IG's ``Graph.to_pt``, which MIB takes, too."""

    name = "eap-ig-pt"
    summary = "EAP-IG's and MIB's graphs, as tensors"
    suffixes = (".pt", ".pth")
    holds = ("edge", "node", "neuron", "circuit")

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        return super().recognizes(path) and b"edges_in_graph" in pickled_text(path)

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + losses(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        return read_pt(path).contents(graph)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        write_pt(file_of(results), path)


def read_pt(path: Path) -> GraphFile:
    """Read a file that ``Graph.to_pt`` wrote.

    Raises:
        UsageError: if it is damaged, hostile or not such a file.
    """
    content = load_torch_file(path)
    edges = content.get("edges_in_graph")
    if not isinstance(edges, Tensor) or edges.ndim != 2:
        raise UsageError(f"edges_in_graph must be a matrix of Booleans, got {shown(edges)}")
    graph, d_model = graph_of(content.get("cfg"), len(edges))
    for name, known in (("src_nodes", graph.sources), ("dst_nodes", tuple(graph.columns))):
        if content.get(name, list(known)) != list(known):
            raise UsageError(f"{name} are not the nodes of such a model in EAP-IG's order")
    rows = len(graph.sources)
    shape, real = [rows, len(graph.readers)], edge_mask(graph)
    edges = _mask(content, "edges_in_graph", shape)
    assert edges is not None
    edge_scores = _scores(content, "edges_scores", shape)
    nodes = _mask(content, "nodes_in_graph", [rows])
    return GraphFile(
        graph,
        d_model,
        edges & real,
        torch.zeros(rows, dtype=torch.bool) if nodes is None else nodes,
        None if edge_scores is None else edge_scores.masked_fill(~real, 0),
        _scores(content, "nodes_scores", [rows]),
        _mask(content, "neurons_in_graph", [rows, d_model]),
        _scores(content, "neurons_scores", [rows, d_model]),
    )


def write_pt(file: GraphFile, path: Path) -> None:
    """Write a file that ``Graph.from_pt`` reads."""
    scores = file.edge_scores
    content = {
        "cfg": file.cfg,
        "src_nodes": list(file.graph.sources),
        "dst_nodes": list(file.graph.columns),
        "edges_scores": torch.zeros(file.edges.shape) if scores is None else scores,
        "edges_in_graph": file.edges,
        "nodes_in_graph": file.nodes,
        "nodes_scores": file.node_scores,
        "neurons_in_graph": file.neurons,
        "neurons_scores": file.neuron_scores,
    }
    save_torch_file({name: value for name, value in content.items() if value is not None}, path)


def _scores(content: dict[str, Any], name: str, shape: list[int]) -> Tensor | None:
    value = _tensor(content, name, shape)
    if value is not None and not value.is_floating_point():
        raise UsageError(f"{name} must be floating-point numbers, got {value.dtype}")
    return value


def _mask(content: dict[str, Any], name: str, shape: list[int]) -> Tensor | None:
    value = _tensor(content, name, shape)
    if value is not None and value.dtype != torch.bool:
        raise UsageError(f"{name} must be Booleans, got {value.dtype}")
    return value


def _tensor(content: dict[str, Any], name: str, shape: list[int]) -> Tensor | None:
    """Return a tensor, or ``None`` if the file does not have it."""
    if name not in content:
        return None
    value = content[name]
    if not isinstance(value, Tensor) or list(value.shape) != shape:
        found = list(value.shape) if isinstance(value, Tensor) else shown(value)
        raise UsageError(f"{name} must have the shape {shape}, got {found}")
    return value
