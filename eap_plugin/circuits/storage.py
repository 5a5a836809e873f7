"""The file of a circuit: JSON with the graph, the names and scores of the edges, and the provenance.

    {"eap_plugin": {"schema": 1, "kind": "circuit"},
     "graph": {"n_layers": ..., ...},
     "edges": {"input->a0.h1<q>": 0.25, ...},
     "neurons": {"d_model": 64, "kept": {"input": [0, 3, ...], ...}},
     "metadata": {...}}

The score of an edge is ``null`` if it is not known; ``neurons`` is left out if all are kept. A file is written to a
temporary path and then renamed, so it is never left incomplete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.errors import UsageError, located, shown
from eap_plugin.files import finite, parse_json, read_text, write_whole
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import LARGEST, stored_edge, stored_graph

SCHEMA = 1
"""Version of the format, increased whenever an older version of this package would misread the file."""

_KEY, _KIND = "eap_plugin", "circuit"


@dataclass(frozen=True)
class CircuitFile:
    """The content of a circuit file; ``circuits.circuit.Circuit`` describes the attributes."""

    graph: Graph
    edges: Bool[Tensor, "sources readers"]
    neurons: Bool[Tensor, "sources d_model"] | None
    scores: Float[Tensor, "sources readers"] | None
    metadata: dict[str, Any]

    def write(self, path: str | Path) -> None:
        """Write the file.

        Raises:
            UsageError: if the folder does not exist.
            EapPluginError: if the file cannot be written.
        """
        document: dict[str, Any] = {
            _KEY: {"schema": SCHEMA, "kind": _KIND},
            "graph": self.graph.to_dict(),
            "edges": {
                self.graph.edge_name(row, column): None if self.scores is None else float(self.scores[row, column])
                for row, column in self.edges.nonzero().tolist()
            },
        }
        if self.neurons is not None:
            kept = {
                self.graph.sources[row]: self.neurons[row].nonzero().flatten().tolist()
                for row in self.neurons.any(1).nonzero().flatten().tolist()
            }
            document["neurons"] = {"d_model": self.neurons.shape[1], "kept": kept}
        document["metadata"] = self.metadata
        write_whole(Path(path), (json.dumps(document, indent=1) + "\n").encode())


def is_circuit(document: object) -> bool:
    """Return whether a JSON document is a circuit file."""
    return isinstance(document, dict) and isinstance(document.get(_KEY), dict) and document[_KEY].get("kind") == _KIND


def read_circuit_file(path: str | Path, graph: Graph | None = None) -> CircuitFile:
    """Read a file that ``CircuitFile.write`` wrote.

    Args:
        path: the file.
        graph: if given, the graph that the circuit must have.

    Raises:
        UsageError: if the file is missing, was not written by ``CircuitFile.write``, is damaged, has a newer schema, or
            has another graph.
        EapPluginError: if the file cannot be read.
    """
    path = Path(path)
    document = parse_json(read_text(path), f"{path} is not a circuit file")
    if not is_circuit(document):
        raise UsageError(f"{path} is not a circuit file of eap-plugin; `eap circuit` writes one from scores")
    schema = document[_KEY].get("schema")
    if not isinstance(schema, int) or schema > SCHEMA:
        raise UsageError(
            f"{path} has schema {shown(schema)}, this version reads up to {SCHEMA}; upgrade eap-plugin to read it"
        )
    with located(f"{path} is not a complete circuit file"):
        content = _parse(document)
    if graph is not None and content.graph != graph:
        raise UsageError(f"{path} has a circuit of another graph: {content.graph}; expected {graph}")
    return content


def _parse(document: dict[str, Any]) -> CircuitFile:
    graph = stored_graph(document.get("graph"))
    edges = torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool)
    scores = torch.zeros(edges.shape, dtype=torch.float64)
    known = True
    for name, score in _object(document, "edges").items():
        place = stored_edge(graph, name)
        edges[place] = True
        if score is None:
            known = False
        else:
            scores[place] = finite(score, f"the score of {name}")
    neurons = None if document.get("neurons") is None else _neurons(graph, _object(document, "neurons"))
    return CircuitFile(graph, edges, neurons, scores if known else None, _object(document, "metadata"))


def _neurons(graph: Graph, given: dict[str, Any]) -> Bool[Tensor, "sources d_model"]:
    d_model = given.get("d_model")
    if type(d_model) is not int or not 1 <= d_model <= LARGEST // len(graph.sources):
        raise UsageError(f"d_model must be the number of neurons of each writer, got {shown(d_model)}")
    neurons = torch.zeros(len(graph.sources), d_model, dtype=torch.bool)
    for name, kept in _object(given, "kept").items():
        if name not in graph.rows:
            raise UsageError(f"neurons of {shown(name)}, which is no writer of the graph")
        if not isinstance(kept, list) or not all(type(index) is int and 0 <= index < d_model for index in kept):
            raise UsageError(f"neurons of {name} must be numbers from 0 to {d_model - 1}, got {shown(kept)}")
        neurons[graph.rows[name], kept] = True
    return neurons


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    """Return an object of the document."""
    value = document.get(key)
    if not isinstance(value, dict):
        raise UsageError(f"{key} must be an object, got {shown(value)}")
    return value
