"""Make scores of any level, from a matrix or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.results.storage import read_score_file


def scores_of(
    level: str,
    graph: Graph,
    matrix: Tensor,
    metadata: dict[str, Any],
    groups: Tensor | None = None,
    group_weights: Tensor | None = None,
) -> PruneScores | NodeScores:
    """Make scores of the given level from a matrix and, if they are kept, its sums over groups.

    Raises:
        UsageError: if the matrix does not have the shape of scores of that level.
    """
    if level == "edge":
        return PruneScores(graph, matrix, metadata, groups, group_weights)
    return NodeScores(graph, matrix, "neuron" if level == "neuron" else "node", metadata, groups, group_weights)


def read_scores(path: str | Path) -> PruneScores | NodeScores:
    """Read scores of any level from a file of this package, with the errors of ``PruneScores.load``."""
    content = read_score_file(path)
    return scores_of(
        content.level, content.graph, content.matrix, content.metadata, content.groups, content.group_weights
    )
