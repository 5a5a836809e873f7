"""Scores by name: the oracle's as options ask for them, and the library's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from eap_plugin import NodeScores, PruneScores
from tests.oracle.brute_force import Edge

Scores = Mapping[Any, Any]
"""By an edge's two names, or by a writer's: numbers, or tensors with axes for positions and for d_model."""


def laid_out(products: Mapping[Edge, Tensor], options: Mapping[str, Any]) -> Scores:
    """Sum the products [batch, pos, d_model] of all edges to scores, by ``level``, ``positions`` and ``qkv``."""
    positions, level = options.get("positions", False), options.get("level", "edge")
    over = (
        {"edge": (0, 2), "node": (0, 2), "neuron": (0,)}[level]
        if positions
        else {"neuron": (0, 1)}.get(level, (0, 1, 2))
    )
    found = {edge: product.sum(dim=over) for edge, product in products.items()}
    if level == "edge":
        return of_edges(found, options)
    return {
        writer: torch.stack([score for edge, score in found.items() if edge[0] == writer]).sum(dim=0)
        for writer in dict.fromkeys(writer for writer, _ in found)
    }


def of_edges(scores: Mapping[Edge, Tensor], options: Mapping[str, Any]) -> Scores:
    """Scores of edges, those into a head's (or group's) q, k and v added up if they are asked for so."""
    if options.get("qkv") != "summed":
        return scores
    names = {reader for _, reader in scores}
    heads, groups = (sum(f"a0.h{h}<{kind}>" in names for h in range(len(names))) for kind in "qk")
    summed: dict[Edge, Tensor] = {}
    for (writer, reader), score in scores.items():
        edge = (writer, _group(reader, heads, groups))
        summed[edge] = summed[edge] + score if edge in summed else score
    return summed


def _group(reader: str, heads: int, groups: int) -> str:
    """Name what a q, k or v reader is part of; another reader has its own name."""
    if not reader.endswith(">"):
        return reader
    place, _, head = reader[: reader.index("<")].partition(".h")
    if heads == groups:
        return f"{place}.h{head}"
    group = int(head) * groups // heads if reader.endswith("<q>") else int(head)
    return f"{place}.g{group}"


def named(scores: PruneScores | NodeScores) -> Scores:
    """Return the library's scores of all edges or of all writers."""
    graph, matrix = scores.graph, scores.matrix
    if isinstance(scores, PruneScores):
        return {
            (writer, reader): matrix[..., row, column]
            for reader, column in graph.columns.items()
            for writer, row in graph.rows.items()
            if row < graph.readers[column].n_upstream
        }
    return {
        writer: matrix[..., row, :] if scores.level == "neuron" else matrix[..., row]
        for writer, row in graph.rows.items()
    }


def error(found: Scores, wanted: Scores) -> float:
    """Return the largest difference over the largest score; NaN if one of the scores is NaN.

    Raises:
        AssertionError: if they are not of the same edges or writers, or there is nothing to tell apart.
    """
    assert found.keys() == wanted.keys()
    exact = {key: torch.as_tensor(value, dtype=torch.float64) for key, value in wanted.items()}
    largest = float(torch.stack([value.abs().max() for value in exact.values()]).max())
    assert largest > 1e-6
    assert all(found[key].shape == value.shape for key, value in exact.items())
    return float(torch.stack([(found[key] - value).abs().max() for key, value in exact.items()]).max()) / largest
