"""Graphs from files: checked before they are built, because a few bytes can claim any number of layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from eap_plugin.errors import UsageError, shown
from eap_plugin.model.graph import Graph

LARGEST = 50_000_000
"""The most entries [sources, readers] of a graph whose file has no number for each; Llama 3.1 70B has 34 million."""

_BOOLEANS = ("parallel", "has_mlp", "summed_qkv")


def stored_graph(values: object, n_numbers: int | None = None) -> Graph:
    """Make a graph from what ``Graph.to_dict`` returned, as found in a file.

    Args:
        values: the arguments of ``Graph``.
        n_numbers: how many scores the file has, at least one for each writer of the graph; ``None`` if it names edges
            only, in which case the graph may have ``LARGEST`` entries.

    Raises:
        UsageError: if an argument is missing, unknown or has the wrong type, or the graph is larger than that.
    """
    if not isinstance(values, Mapping):
        raise UsageError(f"a graph is an object with n_layers, n_heads and n_kv_heads; got {shown(values)}")
    known = {part.name for part in fields(Graph) if part.init}
    for name, value in values.items():
        if name not in known or type(value) is not (bool if name in _BOOLEANS else int):
            raise UsageError(f"a graph cannot have {shown(name)}: {shown(value)}")
    missing = {"n_layers", "n_heads", "n_kv_heads"} - set(values)
    if missing:
        raise UsageError(f"the graph has no {' and '.join(sorted(missing))}")
    layers, heads, kv_heads = values["n_layers"], values["n_heads"], values["n_kv_heads"]
    if min(layers, heads, kv_heads) < 1 or kv_heads > heads:
        return Graph(**values)  # which says what is wrong
    has_mlp = values.get("has_mlp", True)
    n_sources = 1 + layers * (heads + has_mlp)
    n_readers = 1 + layers * ((kv_heads if values.get("summed_qkv", False) else heads + 2 * kv_heads) + has_mlp)
    if n_numbers is not None and n_sources > n_numbers:
        raise UsageError(f"the graph has {n_sources} writers, but there are only {n_numbers} scores")
    if n_numbers is None and n_sources * n_readers > LARGEST:
        raise UsageError(f"the graph has {n_sources} writers and {n_readers} readers, too many to be read")
    return Graph(**values)


def stored_edge(graph: Graph, name: object) -> tuple[int, int]:
    """Return the row and column of an edge named in a file.

    Raises:
        UsageError: if the graph has no such edge; unlike that of ``Graph.edge``, the message is short.
    """
    source, _, reader = name.partition("->") if isinstance(name, str) else ("", "", "")
    row, column = graph.rows.get(source), graph.columns.get(reader)
    if row is None or column is None or row >= graph.readers[column].n_upstream:
        raise UsageError(f"{shown(name)} is no edge of this graph: {graph}")
    return row, column
