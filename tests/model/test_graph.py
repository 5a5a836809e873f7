"""The rows of the edge matrix and the writers in them."""

from __future__ import annotations

import pytest

from eap_plugin.model.graph import Graph, Writer


def name(writer: Writer) -> str:
    return {"input": "input", "head": f"a{writer.layer}.h{writer.head}", "mlp": f"m{writer.layer}"}[writer.kind]


@pytest.mark.parametrize("has_mlp", [False, True])
@pytest.mark.parametrize("n_heads", [1, 3])
def test_a_row_is_the_row_of_its_writer(n_heads: int, has_mlp: bool) -> None:
    graph = Graph(n_layers=2, n_heads=n_heads, n_kv_heads=1, has_mlp=has_mlp)
    assert [name(graph.writer(row)) for row in range(len(graph.sources))] == list(graph.sources)
