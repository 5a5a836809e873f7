"""Selection of a circuit from scores: its size, the method's choice, and the removal of what is not connected."""

from __future__ import annotations

from typing import Any

from jaxtyping import Bool
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.selection.base import Scores, Selection, scored, strength
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.results.prune_scores import PruneScores


def size_of(
    scores: Scores,
    *,
    count: int | None = None,
    fraction: float | None = None,
    threshold: float | None = None,
    signed: bool = False,
) -> int:
    """Return the number of edges, nodes or neurons to select; exactly one of the three must be given.

    Args:
        scores: the scores, without a position axis.
        count: the number itself.
        fraction: a share of all, between 0 and 1; the number is rounded down, as in MIB.
        threshold: the smallest score, or absolute score, to select.
        signed: whether the threshold applies to scores, not to their absolute values.

    Raises:
        UsageError: if none or several are given, or the value is out of range.
    """
    allowed = scored(scores)
    total = int(allowed.sum())
    ways = {"a number": count, "a fraction": fraction, "a threshold": threshold}
    given = [way for way, value in ways.items() if value is not None]
    if len(given) != 1:
        raise UsageError(
            f"give the size of the circuit in one way: as a number of {scores.level}s, a fraction or a threshold; "
            f"got {' and '.join(given) or 'none'}"
        )
    if threshold is not None:
        return int((strength(scores.matrix.cpu(), signed)[allowed] >= threshold).sum())
    if fraction is not None and not 0 <= fraction <= 1:
        raise UsageError(f"fraction must be between 0 and 1, got {fraction}")
    size = int(fraction * total) if fraction is not None else count
    if size is None or not 0 <= size <= total:
        raise UsageError(f"a circuit of this graph has between 0 and {total} {scores.level}s, got {size}")
    return size


def select_circuit(
    scores: Scores, size: int, method: Selection[Any], options: Any, *, signed: bool = False, prune: bool = True
) -> Circuit:
    """Select a circuit.

    Args:
        scores: the scores, without a position axis.
        size: the number of edges, nodes or neurons to select.
        method: the selection method.
        options: its options.
        signed: prefer large scores; if false, large absolute scores.
        prune: remove what is not on a path from the embedding to the logits.

    Raises:
        UsageError: if the method cannot select from scores of this level.
    """
    if scores.level not in method.levels:
        raise UsageError(
            f"{method.name} selects {' or '.join(method.levels)}s, but these are scores of {scores.level}s; "
            f"choose another method"
        )
    chosen = method.select(scores, size, signed, options)
    edges, neurons = _edges_and_neurons(scores, chosen)
    about = {"method": method.name, "level": scores.level, "size": size, "signed": signed, "pruned": prune}
    matrix = scores.matrix.cpu() if isinstance(scores, PruneScores) else None
    circuit = Circuit(scores.graph, edges, neurons, matrix, scores.metadata | {"selection": about})
    return circuit.pruned() if prune else circuit


def _edges_and_neurons(
    scores: Scores, chosen: Bool[Tensor, "sources *columns"]
) -> tuple[Bool[Tensor, "sources readers"], Bool[Tensor, "sources d_model"] | None]:
    """Return all edges out of the chosen writers, and the chosen neurons, if nodes or neurons were chosen."""
    if scores.level == "edge":
        return chosen, None
    if scores.level == "node":
        return edge_mask(scores.graph) & chosen[:, None], None
    return edge_mask(scores.graph) & chosen.any(1)[:, None], chosen
