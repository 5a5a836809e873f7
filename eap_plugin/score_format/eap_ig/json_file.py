"""EAP-IG's JSON files of a graph."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from eap_plugin.errors import UsageError, shown
from eap_plugin.files import finite, parse_json, read_text, write_whole
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import stored_edge
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.detection import json_opening
from eap_plugin.score_format.eap_ig.graph_file import GraphFile, file_of, graph_of, losses


class EapIgJson(ScoreFormat):
    """The files of EAP-IG's ``Graph.to_json``, which MIB takes, too."""

    name = "eap-ig-json"
    summary = "EAP-IG's and MIB's graphs, as JSON"
    suffixes = (".json",)
    holds = ("edge", "node", "circuit")

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        return super().recognizes(path) and json_opening(path) in (("cfg", "{"), ("nodes", "{"), ("edges", "{"))

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + losses(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        return read_json(path).contents(graph)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        write_json(file_of(results), path)


def read_json(path: Path) -> GraphFile:
    """Read a file that ``Graph.to_json`` wrote; edges may be left out, and scores of all edges, too.

    Raises:
        UsageError: if it is damaged, hostile or not such a file.
    """
    document = parse_json(read_text(path), str(path))
    nodes, edges = (_objects(document, part) for part in ("nodes", "edges"))
    writers = {name: node for name, node in nodes.items() if name != "logits"}
    graph, d_model = graph_of(document.get("cfg"), len(writers))
    if set(writers) != set(graph.sources):
        raise UsageError(f"nodes has no {next(name for name in graph.sources if name not in writers)}")
    in_graph = torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool)
    scores = torch.zeros(in_graph.shape, dtype=torch.float64)
    scored = 0
    for name, edge in edges.items():
        row, column = stored_edge(graph, name)
        in_graph[row, column] = _true(edge, f"edges: {name}")
        if "score" in edge:
            scores[row, column] = finite(edge["score"], f"edges: {name}: score")
            scored += 1
    rows = [writers[name] for name in graph.sources]
    return GraphFile(
        graph,
        d_model,
        in_graph,
        torch.tensor([_true(node, f"nodes: {name}") for name, node in zip(graph.sources, rows, strict=True)]),
        scores if scored == graph.n_edges else None,
        _numbers([node["score"] for node in rows], "score") if all("score" in node for node in rows) else None,
        _neurons(rows, "neurons", d_model),
        _neurons(rows, "neurons_scores", d_model),
    )


def write_json(file: GraphFile, path: Path) -> None:
    """Write a file that ``Graph.from_json`` reads.

    Raises:
        UsageError: if neurons are scored or chosen: ``from_json`` gives those of a layer's last head to all its heads.
    """
    if file.neurons is not None or file.neuron_scores is not None:
        raise UsageError("EAP-IG does not read neurons from JSON as they are; write the format eap-ig-pt")
    nodes: dict[str, dict[str, Any]] = {}
    for row, name in enumerate(file.graph.sources):
        nodes[name] = {"in_graph": bool(file.nodes[row])}
        if file.node_scores is not None:
            nodes[name]["score"] = float(file.node_scores[row])
    nodes["logits"] = {"in_graph": bool(file.edges[:, -1].any())}
    rows, columns = edge_mask(file.graph).nonzero(as_tuple=True)
    scores = torch.zeros(file.edges.shape) if file.edge_scores is None else file.edge_scores
    edges = {
        file.graph.edge_name(row, column): {"score": score, "in_graph": kept}
        for row, column, score, kept in zip(
            rows.tolist(),
            columns.tolist(),
            scores[rows, columns].tolist(),
            file.edges[rows, columns].tolist(),
            strict=True,
        )
    }
    write_whole(path, json.dumps({"cfg": file.cfg, "nodes": nodes, "edges": edges}).encode())


def _objects(document: object, part: str) -> dict[str, dict[str, Any]]:
    """Return a part of the document that maps names to objects."""
    found = document.get(part) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise UsageError(f"{part} must be an object with one entry for each name")
    for name, value in found.items():
        if not isinstance(value, dict):
            raise UsageError(f"{part}: {shown(name)} must be an object, got {shown(value)}")
    return found


def _true(entry: dict[str, Any], where: str) -> bool:
    value = entry.get("in_graph")
    if not isinstance(value, bool):
        raise UsageError(f"{where}: in_graph must be true or false, got {shown(value)}")
    return value


def _numbers(values: list[Any], what: str) -> Tensor:
    """Return scores; not a number stands for a node or neuron without one."""
    if not all(type(value) in (int, float) for value in values):
        raise UsageError(f"nodes: every {what} must be a number")
    return torch.tensor(values, dtype=torch.float64)


def _neurons(nodes: list[dict[str, Any]], part: str, d_model: int) -> Tensor | None:
    if not any(part in node for node in nodes):
        return None
    rows = []
    for node in nodes:
        row = node.get(part)
        if not isinstance(row, list) or len(row) != d_model:
            raise UsageError(f"nodes: {part} must be a list of {d_model} for every node, got {shown(row)}")
        rows.append(row)
    if part == "neurons":
        if not all(isinstance(value, bool) for row in rows for value in row):
            raise UsageError("nodes: neurons must be lists of true and false")
        return torch.tensor(rows)
    return torch.stack([_numbers(row, "one of neurons_scores") for row in rows])
