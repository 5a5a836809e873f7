"""Grouped-query attention: a k and a v reader for each key/value head, as here, and for each query head, as elsewhere.

EAP-IG, MIB and AutoCircuit repeat a key/value head for each query head of its group. For first-order methods the score
of the real reader is the sum over these copies. So a score is written in equal shares, and copies are summed when read.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import ungroup_columns, ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

SUMMED = "k and v scores summed over the query heads of each group"


def split_groups(graph: Graph, matrix: Float[Tensor, "*pos sources readers"]) -> Float[Tensor, "*pos sources copies"]:
    """Split the score of each k and v reader into equal shares, which add up, in order, to exactly the score.

    For this, the last share is what the others leave, which differs from them by rounding only.
    """
    columns = ungroup_columns(graph)
    count, last = Counter(columns), {column: copy for copy, column in enumerate(columns)}
    shares, total = matrix[..., columns], matrix.new_zeros(matrix.shape)
    for copy, column in enumerate(columns):
        if count[column] > 1:
            score = matrix[..., column]
            shares[..., copy] = score - total[..., column] if copy == last[column] else score / count[column]
            total[..., column] += shares[..., copy]
    return shares


def sum_groups(graph: Graph, copies: Float[Tensor, "*pos sources copies"]) -> Float[Tensor, "*pos sources readers"]:
    """Sum the copies of each k and v reader of ``graph``, in order."""
    matrix = copies.new_zeros(*copies.shape[:-1], len(graph.readers))
    for copy, column in enumerate(ungroup_columns(graph)):
        matrix[..., column] += copies[..., copy]
    return matrix


def ungroup_circuit(circuit: Circuit) -> Circuit:
    """Return the circuit with one k and one v reader for each query head, their scores split into shares."""
    scores = None if circuit.scores is None else split_groups(circuit.graph, circuit.scores)
    return replace(circuit.ungrouped(), scores=scores)


def regroup_scores(scores: PruneScores, graph: Graph | None) -> PruneScores:
    """Return scores from a file as scores of the caller's graph, if that is known.

    Raises:
        UsageError: if the file is not of that graph, whether or not with a k and v reader for each query head.
    """
    if not _grouped_otherwise(scores.graph, graph):
        return scores
    assert graph is not None
    about = scores.metadata | {"derived": [*scores.metadata.get("derived", []), SUMMED]}
    return PruneScores(graph, sum_groups(graph, scores.matrix), about)


def regroup_circuit(circuit: Circuit, graph: Graph | None) -> Circuit:
    """Return a circuit from a file as a circuit of the caller's graph, if that is known.

    Raises:
        UsageError: if the file is not of that graph, or the circuit has only a part of a k or v reader's copies.
    """
    if not _grouped_otherwise(circuit.graph, graph):
        return circuit
    assert graph is not None
    columns = ungroup_columns(graph)
    edges = circuit.edges.new_zeros(len(graph.sources), len(graph.readers))
    edges[:, columns] = circuit.edges  # of several copies any one; the next line finds where they differ
    differing = (edges[:, columns] != circuit.edges).nonzero()
    if len(differing):
        row, copy = differing[0].tolist()
        raise UsageError(
            f"the circuit has {graph.edge_name(row, columns[copy])} for a part of the query heads of its group only, "
            f"which a circuit of the grouped graph cannot express; read it without giving the graph"
        )
    scores = None if circuit.scores is None else sum_groups(graph, circuit.scores)
    return Circuit(graph, edges, circuit.neurons, scores, circuit.metadata)


def _grouped_otherwise(found: Graph, expected: Graph | None) -> bool:
    """Return whether the file has a k and v reader for each query head of the expected graph, which has fewer."""
    if expected is None or found == expected:
        return False
    if found != ungrouped(expected):
        raise UsageError(f"the file has another graph: {found}; expected {expected}")
    return True
