"""Combination of several scores into one, such as those of several algorithms or seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.data.ranks import mean_ranks
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.results.grouped import same_groups
from eap_plugin.results.loading import scores_of
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

How = Literal["mean", "rank-mean", "max", "min"]
Normalization = Literal["none", "reader", "global"]

_NOT_SHARED = ("options", "reference", "gradient_run", "created", "derived")
"""What the metadata of a combination leave to those of its parts."""


def combine(
    parts: Sequence[PruneScores | NodeScores], how: How = "mean", normalize: Normalization = "none"
) -> PruneScores | NodeScores:
    """Combine scores of the same graph, edge by edge (or node by node, neuron by neuron).

    Args:
        parts: two or more scores, of the same level and shape.
        how: ``mean``: the mean score. ``rank-mean``: the mean of sign · rank / n, where n scores are ranked by absolute
            value, the smallest first and ties at their mean rank, and scores of zero are 0. ``max``: the score of
            largest absolute value, of the first part if several have it. ``min``: the one of smallest absolute value.
        normalize: what to divide each part by first: ``none``: nothing; ``global``: its largest absolute score;
            ``reader``: the largest absolute score of each reader (of edges only). What is all zero stays so.

    Returns:
        The combination. Its metadata keep what those of all parts agree on (the unit only if scores still have it), and
        have all of them under ``parts``. A mean without normalization keeps sums over groups of prompts if all parts
        have the same groups.

    Raises:
        UsageError: if there are fewer than two parts, they differ in graph, level or shape, or a choice is unknown.
    """
    _check(parts, how, normalize)
    first = parts[0]
    values = torch.stack([_normalized(part, normalize) for part in parts])
    if how == "rank-mean":
        values = torch.stack([_signed_ranks(part, value) for part, value in zip(parts, values, strict=True)])
    matrix = values.mean(0) if how in ("mean", "rank-mean") else _chosen(values, how)
    groups = None
    if how == "mean" and normalize == "none" and all(same_groups(first, part) for part in parts):
        groups = torch.stack([part.groups for part in parts if part.groups is not None]).mean(0)
    weights = None if groups is None else first.group_weights
    return scores_of(first.level, first.graph, matrix, _metadata(parts, how, normalize), groups, weights)


def _check(parts: Sequence[PruneScores | NodeScores], how: str, normalize: str) -> None:
    for name, value, choices in (("how", how, get_args(How)), ("normalize", normalize, get_args(Normalization))):
        if value not in choices:
            raise UsageError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    if len(parts) < 2:
        raise UsageError(f"a combination needs at least two scores, got {len(parts)}")
    first = parts[0]
    for part in parts[1:]:
        if (part.level, part.graph, part.matrix.shape) != (first.level, first.graph, first.matrix.shape):
            raise UsageError(
                f"only scores of the same level, graph and shape can be combined; got {_described(first)} and "
                f"{_described(part)}"
            )
    if normalize == "reader" and first.level != "edge":
        raise UsageError(f"normalize='reader' is for scores of edges; {first.level}s have no reader")


def _described(scores: PruneScores | NodeScores) -> str:
    return f"{scores.level} scores {list(scores.matrix.shape)} of {scores.graph}"


def _normalized(scores: PruneScores | NodeScores, normalize: Normalization) -> Tensor:
    matrix = scores.matrix.to(torch.promote_types(scores.matrix.dtype, torch.float32))
    if normalize == "none":
        return matrix
    columns = matrix.shape[-1] if normalize == "reader" else 1
    largest = matrix.abs().reshape(-1, columns).amax(0)
    return matrix / torch.where(largest == 0, 1, largest)


def _signed_ranks(scores: PruneScores | NodeScores, matrix: Tensor) -> Tensor:
    """Return sign · rank / n, for ranks by absolute value among all that is scored."""
    scored = edge_mask(scores.graph) if scores.level == "edge" else torch.ones_like(matrix, dtype=torch.bool)
    scored = scored.to(matrix.device).expand(matrix.shape)
    ranks = mean_ranks(matrix[scored].abs())
    signed = torch.zeros_like(matrix)
    signed[scored] = matrix[scored].sign() * (ranks / len(ranks)).to(matrix.dtype)
    return signed


def _chosen(values: Float[Tensor, "parts *scores"], how: str) -> Tensor:
    strengths = values.abs() if how == "max" else -values.abs()
    return values.gather(0, strengths.argmax(0, keepdim=True))[0]


def _metadata(parts: Sequence[PruneScores | NodeScores], how: str, normalize: str) -> dict[str, Any]:
    first, *others = (part.metadata for part in parts)
    shared = {
        name: value
        for name, value in first.items()
        if name not in _NOT_SHARED and all(name in other and other[name] == value for other in others)
    }
    if how == "rank-mean" or normalize != "none":
        for unit in ("metric_unit", "score_unit"):
            shared.pop(unit, None)
    algorithms = [str(part.metadata.get("algorithm", "unknown")) for part in parts]
    return shared | {
        "algorithm": f"{how} of {', '.join(algorithms)}",
        "combined": {"how": how, "normalize": normalize},
        "parts": [part.metadata for part in parts],
    }
