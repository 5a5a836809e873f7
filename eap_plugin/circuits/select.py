"""Selection of a circuit from scores: its size, the method's choice, and the removal of what is not connected."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.selection.base import Scores, Selection, scored, strength
from eap_plugin.errors import EapPluginError, UsageError
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
        levels = " or ".join(f"{level}s" for level in method.levels)
        raise UsageError(
            f"{method.name} selects {levels}, but these are scores of {scores.level}s; choose another method"
        )
    found = method.select(scores, size, signed, options)
    _check(method.name, found.mask, scores, size)
    edges, neurons = _edges_and_neurons(scores, found.mask)
    matrix = scores.matrix.cpu() if isinstance(scores, PruneScores) else None
    circuit = Circuit(scores.graph, edges, neurons, matrix)
    kept = circuit.pruned() if prune else circuit
    about = {
        "method": method.name,
        "options": asdict(options),
        "signed": signed,
        "level": scores.level,
        "size": size,
        "selected": int(found.mask.sum()),
        "pruned": prune,
        "kept": _count(kept, found.mask, scores.level),
        "notes": found.notes,
    }
    return replace(kept, metadata=scores.metadata | {"selection": about})


def _check(name: str, mask: object, scores: Scores, size: int) -> None:
    """Check what a method, which may be a plugin's, selected."""
    shape = list(scores.matrix.shape)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or list(mask.shape) != shape:
        raise EapPluginError(f"selection method {name!r} must return a boolean mask of shape {shape}; fix the method")
    if bool((mask & ~scored(scores)).any()) or int(mask.sum()) > size:
        raise EapPluginError(
            f"selection method {name!r} selected more than {size} {scores.level}s of the graph; fix the method"
        )


def _count(circuit: Circuit, selected: Bool[Tensor, "sources *columns"], level: str) -> int:
    """Return how many of the selected edges, nodes or neurons are in the circuit."""
    if level == "edge":
        return circuit.n_edges
    return int(selected[circuit.edges.any(1)].sum())


def _edges_and_neurons(
    scores: Scores, chosen: Bool[Tensor, "sources *columns"]
) -> tuple[Bool[Tensor, "sources readers"], Bool[Tensor, "sources d_model"] | None]:
    """Return all edges out of the chosen writers, and the chosen neurons, if nodes or neurons were chosen."""
    if scores.level == "edge":
        return chosen, None
    if scores.level == "node":
        return edge_mask(scores.graph) & chosen[:, None], None
    return edge_mask(scores.graph) & chosen.any(1)[:, None], chosen
