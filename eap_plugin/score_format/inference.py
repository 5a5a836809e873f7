"""The graph of a table of edges that has no header, from the names of its edges."""

from __future__ import annotations

import re
from collections.abc import Iterable

from eap_plugin.errors import UsageError, shown
from eap_plugin.model.stored_graph import stored_graph
from eap_plugin.score_format.table import Header

_READER = re.compile(r"a(\d{1,6})\.h(\d{1,6})<([qkv])>")


def header_from_names(rows: Iterable[tuple[str, int | None, object]]) -> Header:
    """Return the header of a table with a row for every edge of a model.

    The largest layer and heads give the sizes; that every edge of such a graph has a row is checked when the table is
    read.

    Raises:
        UsageError: if the names are not those of all edges of a model.
    """
    edges = {name for name, _, _ in rows}
    n_rows = sum(1 for _ in rows)
    positions = {position for _, position, _ in rows}
    heads: dict[str, int] = {}
    n_layers = 0
    for edge in edges:
        source, _, reader = edge.partition("->")
        found = _READER.fullmatch(reader)
        if found is not None:
            n_layers = max(n_layers, int(found[1]) + 1)
            heads[found[3]] = max(heads.get(found[3], 0), int(found[2]) + 1)
        elif not source or not re.fullmatch(r"logits|m\d{1,6}", reader):
            raise UsageError(f"{shown(edge)} is not the name of an edge, such as a0.h1->a3.h2<q> or m0->logits")
    if set(heads) != set("qkv"):
        raise UsageError("the graph cannot be told from the names: edges into q, k and v inputs are missing")
    sizes = {
        "n_layers": n_layers,
        "n_heads": heads["q"],
        "n_kv_heads": heads["k"],
        "parallel": "a0.h0->m0" not in edges,
        "has_mlp": "input->m0" in edges,
    }
    sizes["parallel"] &= sizes["has_mlp"]
    graph = stored_graph(sizes, n_rows)
    return Header("edge", graph, {}, n_positions=None if positions == {None} else len(positions))
