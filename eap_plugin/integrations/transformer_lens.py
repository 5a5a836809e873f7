"""Results of TransformerLens' own attribution patching, as scores of this package."""

from __future__ import annotations

from typing import Any

import torch

from eap_plugin.errors import UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

_SLOTS = {"q_input": "q", "k_input": "k", "v_input": "v"}


def from_attribution_patch(result: Any, graph: Graph, *, swapped: bool = False) -> PruneScores:
    """Edge scores of ``transformer_lens.tools.analysis.attribution_patching.attribution_patch``, by position.

    TransformerLens takes the gradient on the prompts that it is given as ``corrupt``, and scores what a step to those
    given as ``clean`` would bring: a positive score is an edge whose restoration helps. Called with the two swapped it
    takes the gradient on the clean prompts, as ``eap`` does, and a positive score is an edge whose corruption helps.

    Args:
        result: with edge scores.
        graph: of the model: ``eap_plugin.wrap_model(bridge).graph``.
        swapped: whether it was called with clean and corrupt prompts swapped. If so, signs are turned, and scores are
            those of ``eap`` with ``positions=True``; if not, positive means helpful already and signs stay.

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
