"""What the page knows of one file: the scores of its edges or nodes, and the selections that it can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.selection.base import Scores, Selection, ranking, scored, strength
from eap_plugin.display.viewer.packing import packed_indices, packed_scores
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

STOPS = 40
"""The number of sizes at which selections are stored whose order is not known."""


def circuit_dataset(circuit: Circuit) -> dict[str, Any]:
    """Return a circuit: its edges as indices among the graph's, the scores of these, and their order by strength."""
    mask = edge_mask(circuit.graph)
    members = circuit.edges.cpu()[mask].nonzero().flatten()
    scores = None if circuit.scores is None else circuit.scores.cpu()[mask][members]
    orders = []
    for signed in (False, True) if scores is not None else (False,):
        ranked = torch.zeros(len(members)) if scores is None else strength(scores, signed)
        order = ranking(ranked, torch.ones(len(members), dtype=torch.bool))
        orders.append({"method": "circuit", "signed": signed, "order": packed_indices(order, len(members))})
    return {
        "kind": "circuit",
        "members": packed_indices(members, circuit.graph.n_edges),
        "n": len(members),
        "scores": None if scores is None else packed_scores(scores),
        "selections": orders,
        "metadata": circuit.metadata,
    }


def score_dataset(scores: Scores, methods: Sequence[Selection[Any]]) -> dict[str, Any]:
    """Return scores of edges or nodes, and the order in which each method selects them.

    Scores of neurons are summed over the neurons of each node. Scores per position are kept as they are, and summed
    over positions for the selections, as ``eap_plugin.select`` does.
    """
    if isinstance(scores, NodeScores) and scores.level == "neuron":
        scores = NodeScores(scores.graph, scores.matrix.sum(-1), "node", scores.metadata)
    flat = scores.sum_positions()
    allowed = scored(flat)
    made = {
        "kind": flat.level,
        "n": int(allowed.sum()),
        "scores": packed_scores(flat.matrix.cpu()[allowed]),
        "stderr": None if flat.groups is None else packed_scores(flat.stderr.cpu()[allowed]),
        "selections": _selections(flat, allowed, methods),
        "metadata": scores.metadata,
    }
    return made | (_positions(scores) if isinstance(scores, PruneScores) and scores.has_positions else {})


def _positions(scores: PruneScores) -> dict[str, Any]:
    """Return the scores at each position, [pos, edges], and the order of edges and positions by strength."""
    matrix = scores.matrix.cpu()[:, edge_mask(scores.graph)]
    everything = torch.ones(matrix.shape, dtype=torch.bool)
    orders = [
        {"signed": signed, "order": packed_indices(ranking(strength(matrix, signed), everything), matrix.numel())}
        for signed in (False, True)
    ]
    return {"positions": {"n": len(matrix), "scores": packed_scores(matrix), "orders": orders}}


def _selections(
    scores: Scores, allowed: Bool[Tensor, "sources *columns"], methods: Sequence[Selection[Any]]
) -> list[dict[str, Any]]:
    """Return what each method selects, by absolute score and by score, as indices among what is scored."""
    place = torch.cumsum(allowed.flatten(), 0) - 1
    n = int(allowed.sum())
    made: list[dict[str, Any]] = []
    for method in methods:
        if scores.level not in method.levels:
            continue
        for signed in (False, True):
            try:
                found = _order_or_stops(scores, method, signed, place, n)
            except UsageError:  # what the method needs is not in the scores, such as sums over groups of prompts
                break
            made.append({"method": method.name, "summary": method.summary, "signed": signed, **found})
    return made


def _order_or_stops(
    scores: Scores, method: Selection[Any], signed: bool, place: Int[Tensor, "entries"], n: int
) -> dict[str, Any]:
    options = method.options()
    order = method.order(scores, signed, options)
    if order is not None:
        return {"order": packed_indices(place[order], n)}
    stops = []
    for size in sizes(n):
        mask = method.select(scores, size, signed, options).mask
        chosen = place[mask.flatten().nonzero().flatten()]
        stops.append({"size": size, "items": packed_indices(chosen, n)})
    return {"stops": stops}


def sizes(n: int) -> list[int]:
    """Return at most ``STOPS`` different sizes from 1 to ``n``, evenly spaced on a logarithmic scale."""
    spaced: Float[Tensor, "stops"] = torch.logspace(0, float(torch.log10(torch.tensor(max(n, 1)))), STOPS)
    return sorted({max(1, min(n, round(float(size)))) for size in spaced} | {n}) if n else []
