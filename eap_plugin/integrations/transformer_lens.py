"""Conversion of the results of TransformerLens' own attribution patching into scores of this package."""

from __future__ import annotations

from typing import Any

import torch

from eap_plugin.errors import UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

_SLOTS = {"q_input": "q", "k_input": "k", "v_input": "v"}


def from_attribution_patch(result: Any, graph: Graph, *, swapped: bool = False) -> PruneScores:
    """Convert edge scores of ``transformer_lens.tools.analysis.attribution_patching.attribution_patch``, by position.

    TransformerLens takes the gradient on the prompts passed as ``corrupt``, and estimates the effect of moving towards
    those passed as ``clean``: a positive score marks an edge whose restoration raises the metric. With clean and
    corrupt prompts swapped it takes the gradient on the clean prompts, as ``eap`` does, and a positive score marks an
    edge whose corruption raises the metric.

    Args:
        result: the return value of ``attribution_patch``, with edge scores.
        graph: the model's graph, ``eap_plugin.wrap_model(bridge).graph``.
        swapped: whether ``attribution_patch`` was called with clean and corrupt prompts swapped. If so, signs are
            inverted, and the scores are those of ``eap`` with ``positions=True``. If not, signs are kept: a positive
            score already means that the edge helps.

    Returns:
        Float64 scores, [pos, sources, readers]; ``sum_positions()`` gives one for each edge.

    Raises:
        UsageError: if there are no edge scores, or they are not of this graph's edges.
    """
    if not result.edge_scores:
        raise UsageError(
            "the result has no edge scores; call attribution_patch with "
            'config=EdgeAttributionConfig(granularity="edge")'
        )
    n_pos = 1 + max(writer.position for writer, _ in result.edge_scores)
    if len(result.edge_scores) != n_pos * graph.n_edges:
        raise UsageError(
            f"the result has {len(result.edge_scores)} edge scores, but {n_pos} positions of this graph have "
            f"{n_pos * graph.n_edges}; give the graph of the same model"
        )
    matrix = torch.zeros(n_pos, len(graph.sources), len(graph.readers), dtype=torch.float64)
    for (writer, reader), score in result.edge_scores.items():
        row, column = graph.edge(f"{_writer_name(writer)}->{_reader_name(reader)}")
        matrix[writer.position, row, column] = -score if swapped else score
    run = "clean" if swapped else "corrupt"
    return PruneScores(graph, matrix, {"algorithm": "transformer_lens.attribution_patch", "gradient_run": run})


def _writer_name(node: Any) -> str:
    if node.kind == "embed":
        return "input"
    return f"m{node.layer}" if node.kind == "mlp_out" else f"a{node.layer}.h{node.head}"


def _reader_name(node: Any) -> str:
    if node.kind == "logits":
        return "logits"
    return f"m{node.layer}" if node.kind == "mlp_in" else f"a{node.layer}.h{node.head}<{_SLOTS[node.kind]}>"
