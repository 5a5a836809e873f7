"""Scores and circuits of random graphs, for tests of formats."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.base import Exportable

D_MODEL = 3
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
ABOUT: dict[str, Any] = {"d_model": D_MODEL, "n_prompts": 8, "model": 'a <b> & "c" \\ é\nd', "algorithm": "eap"}

graphs = st.builds(
    lambda layers, groups, group, parallel, has_mlp, summed: Graph(
        layers, groups * group, groups, parallel and has_mlp, has_mlp, summed
    ),
    st.integers(1, 3), st.integers(1, 2), st.integers(1, 3), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip


def made(graph: Graph, kind: str, seed: int = 0, positions: bool = False, dtype: torch.dtype = DTYPES[0]) -> Exportable:
    """Make random scores, or a random circuit with scores (of neurons for the kind ``neurons``)."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = len(graph.sources), len(graph.readers)
    leading = (2,) if positions else ()

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    if kind in ("circuit", "unscored", "neurons"):
        edges = edge_mask(graph) & (draw(rows, columns) > 0)
        neurons = draw(rows, D_MODEL) > 0 if kind == "neurons" else None
        scores = draw(rows, columns) * edge_mask(graph) if kind == "circuit" else None
        return Circuit(graph, edges, neurons, scores, ABOUT)
    if kind == "edge":
        return PruneScores(graph, draw(*leading, rows, columns) * edge_mask(graph), ABOUT)
    if kind == "node":
        return NodeScores(graph, draw(*leading, rows), "node", ABOUT)
    return NodeScores(graph, draw(*leading, rows, D_MODEL), "neuron", ABOUT)
