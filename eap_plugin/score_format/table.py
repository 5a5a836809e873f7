"""Scores and circuits as tables of names and numbers, and back: what CSV, Parquet, GraphML and DOT have in common.

A table has one row for each edge, node or neuron, or for each of them and position; that of a circuit has its edges
only. What else is needed to read it back is a small JSON document, the header, which each format keeps in its own way.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError, shown
from eap_plugin.files import finite, parse_json
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import stored_edge, stored_graph
from eap_plugin.results.loading import scores_of
from eap_plugin.score_format.base import Contents, Exportable, require_graph

KEY = "eap_plugin"
"""The name under which formats keep the header."""

SCHEMA = 1
"""Version of the header, increased whenever an older version of this package would misread a table."""

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class Header:
    """What a table needs to be read back.

    Attributes:
        kind: ``edge``, ``node`` or ``neuron`` for scores, or ``circuit``.
        graph: the model's graph.
        metadata: the provenance.
        dtype: the name of the scores' data type.
        n_positions: the number of positions, if scores are kept for each.
        d_model: the number of neurons of each writer, for scores of neurons.
    """

    kind: str
    graph: Graph
    metadata: dict[str, Any]
    dtype: str = "float64"
    n_positions: int | None = None
    d_model: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the header as plain values."""
        content = {name: getattr(self, name) for name in ("kind", "metadata", "dtype", "n_positions", "d_model")}
        return {"schema": SCHEMA, "graph": self.graph.to_dict(), **content}

    def to_json(self) -> str:
        """Return the header as one line of JSON in ASCII."""
        return json.dumps(self.to_dict())

    @property
    def column(self) -> str:
        """The name of the column of names."""
        return "edge" if self.kind == "circuit" else self.kind

    @property
    def names(self) -> list[str]:
        """The names of all edges, nodes or neurons, in the graph's order."""
        if self.kind == "node":
            return list(self.graph.sources)
        if self.kind == "neuron":
            return [f"{name}[{index}]" for name in self.graph.sources for index in range(self.d_model or 0)]
        rows, columns = (index.tolist() for index in edge_mask(self.graph).nonzero(as_tuple=True))
        return [self.graph.edge_name(row, column) for row, column in zip(rows, columns, strict=True)]


def header_of(results: Exportable) -> Header:
    """Return the header of a table of these results."""
    if isinstance(results, Circuit):
        dtype = torch.float64 if results.scores is None else results.scores.dtype
        return Header("circuit", results.graph, results.metadata, _name(dtype))
    matrix = results.matrix
    n_positions = len(matrix) if results.has_positions else None
    d_model = matrix.shape[-1] if results.level == "neuron" else None
    return Header(results.level, results.graph, results.metadata, _name(matrix.dtype), n_positions, d_model)


def parse_header(text: str, n_rows: int) -> Header:
    """Read the header of a table with ``n_rows`` rows from JSON, with the errors of ``header_from``."""
    return header_from(parse_json(text, "the header"), n_rows)


def header_from(found: object, n_rows: int | None) -> Header:
    """Return the header from the plain values in a file.

    Args:
        found: what ``Header.to_dict`` returned.
        n_rows: the number of rows of the table; ``None`` if it has no rows for scores of zero.

    Raises:
        UsageError: if it is damaged, of a newer version, or describes more scores than there are rows.
    """
    if not isinstance(found, dict) or not isinstance(found.get("metadata"), dict):
        raise UsageError("the header must be an object with graph and metadata")
    if type(found.get("schema")) is not int or found["schema"] > SCHEMA:
        raise UsageError(f"the header has schema {shown(found.get('schema'))}, this version reads up to {SCHEMA}")
    kind, dtype = found.get("kind"), found.get("dtype")
    if kind not in ("edge", "node", "neuron", "circuit") or dtype not in DTYPES:
        raise UsageError(f"the header has the kind {shown(kind)} and the data type {shown(dtype)}, which are not known")
    graph = stored_graph(found.get("graph"), None if kind == "circuit" else n_rows)
    n_positions, d_model = (_count(found, name) for name in ("n_positions", "d_model"))
    counts = {"edge": graph.n_edges, "node": len(graph.sources), "neuron": len(graph.sources) * (d_model or 0)}
    expected = counts.get(kind, 0) * (n_positions or 1)
    if n_rows is not None and expected > n_rows:
        raise UsageError(f"the header describes {expected} scores, but there are {n_rows}")
    return Header(kind, graph, found["metadata"], dtype, n_positions, d_model)


def rows_of(results: Exportable) -> Iterator[tuple[str, int | None, float | None]]:
    """Yield the name, the position if there are any, and the score if it is known, of each row."""
    header = header_of(results)
    if isinstance(results, Circuit):
        for row, column in results.edges.nonzero().tolist():
            score = None if results.scores is None else float(results.scores[row, column])
            yield results.graph.edge_name(row, column), None, score
        return
    names = header.names
    for position, values in enumerate(_values(results.matrix, header)):
        for name, score in zip(names, values.tolist(), strict=True):
            yield name, None if header.n_positions is None else position, score


def contents_of(header: Header, rows: Iterable[tuple[str, int | None, object]], graph: Graph | None) -> Contents:
    """Return the scores or the circuit of a table.

    Args:
        header: the header.
        rows: the name, position and score of each row, in any order.
        graph: the graph that it must have, if the caller knows it.

    Raises:
        UsageError: if a row names something else, is there twice or missing, or its score is not a finite number.
    """
    require_graph(header.graph, graph)
    if header.kind == "circuit":
        return Contents(circuit=_circuit(header, rows))
    names, n_positions = header.names, header.n_positions or 1
    place = {name: index for index, name in enumerate(names)}
    values: list[float | None] = [None] * (n_positions * len(names))
    for name, position, score in rows:
        where = 0 if header.n_positions is None and position is None else position
        if name not in place or where is None or not 0 <= where < n_positions:
            raise UsageError(f"there is no {header.kind} {shown(name)} at position {shown(position)} in this graph")
        index = where * len(names) + place[name]
        if values[index] is not None:
            raise UsageError(f"{name} is there twice")
        values[index] = finite(score, f"the score of {name}")
    if None in values:
        raise UsageError(f"there is no score of {names[values.index(None) % len(names)]}")
    matrix = torch.tensor(values, dtype=torch.float64).to(DTYPES[header.dtype]).view(n_positions, len(names))
    return Contents(scores_of(header.kind, header.graph, _matrix(matrix, header), header.metadata))


def _circuit(header: Header, rows: Iterable[tuple[str, int | None, object]]) -> Circuit:
    graph, known = header.graph, True
    edges = torch.zeros(len(graph.sources), len(graph.readers), dtype=torch.bool)
    scores = torch.zeros(edges.shape, dtype=DTYPES[header.dtype])
    for name, _, score in rows:
        place = stored_edge(graph, name)
        edges[place] = True
        known = known and score is not None
        if score is not None:
            scores[place] = finite(score, f"the score of {name}")
    return Circuit(graph, edges, None, scores if known else None, header.metadata)


def _values(matrix: Tensor, header: Header) -> Tensor:
    """Return the scores as [positions, names], with one position if they are not kept per position."""
    matrix = matrix.detach().cpu()
    matrix = matrix if header.n_positions is not None else matrix[None]
    return matrix[:, edge_mask(header.graph)] if header.kind == "edge" else matrix.flatten(1)


def _matrix(values: Tensor, header: Header) -> Tensor:
    """Return the matrix of scores given as [positions, names]."""
    graph = header.graph
    if header.kind == "edge":
        matrix = values.new_zeros(len(values), len(graph.sources), len(graph.readers))
        matrix[:, edge_mask(graph)] = values
    else:
        matrix = values.view(len(values), len(graph.sources), -1) if header.kind == "neuron" else values
    return matrix[0] if header.n_positions is None else matrix


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _count(document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    if value is not None and (type(value) is not int or value < 1):
        raise UsageError(f"{name} in the header must be a positive integer, got {shown(value)}")
    return value
