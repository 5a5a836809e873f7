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

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.files import write_whole
from eap_plugin.model.graph import Graph

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
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a circuit file: it is not JSON ({error})") from error
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error
    if not is_circuit(document):
        raise UsageError(f"{path} is not a circuit file of eap-plugin; `eap circuit` writes one from scores")
    try:
        content = _parse(document, path)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise UsageError(f"{path} is not a complete circuit file ({error!r}); save the circuit again") from error
    if graph is not None and content.graph != graph:
        raise UsageError(f"{path} has a circuit of another graph: {content.graph}; expected {graph}")
    return content


def _parse(document: dict[str, Any], path: Path) -> CircuitFile:
    schema = int(document[_KEY]["schema"])
    if schema > SCHEMA:
        raise UsageError(
            f"{path} has schema {schema}, this version reads up to {SCHEMA}; upgrade eap-plugin to read it"
        )
    graph = Graph(**document["graph"])
    edges = torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool)
    scores = torch.zeros(edges.shape, dtype=torch.float64)
    for name, score in document["edges"].items():
        place = graph.edge(name)
        edges[place] = True
        scores[place] = torch.nan if score is None else float(score)
    known = None if bool(scores.isnan().any()) else scores
    return CircuitFile(graph, edges, _neurons(graph, document.get("neurons")), known, dict(document["metadata"]))


def _neurons(graph: Graph, given: dict[str, Any] | None) -> Bool[Tensor, "sources d_model"] | None:
    if given is None:
        return None
    neurons = torch.zeros(len(graph.sources), int(given["d_model"]), dtype=torch.bool)
    for name, kept in given["kept"].items():
        neurons[graph.rows[name], list(map(int, kept))] = True
    return neurons
