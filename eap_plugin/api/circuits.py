"""Select circuits from scores."""

from __future__ import annotations

from typing import Any

from eap_plugin.api.registries import selections
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.select import select_circuit, size_of
from eap_plugin.circuits.selection.base import Scores, Selection
from eap_plugin.errors import UsageError
from eap_plugin.host.options import build_options


def select(
    scores: Scores,
    *,
    edges: int | None = None,
    nodes: int | None = None,
    neurons: int | None = None,
    fraction: float | None = None,
    threshold: float | None = None,
    method: str | Selection[Any] = "top",
    signed: bool = False,
    prune: bool = True,
    **options: Any,
) -> Circuit:
    """Select a circuit from scores; give its size in exactly one way.

    Args:
        scores: scores of edges, nodes or neurons; those kept per position are summed over positions first.
        edges: the number of edges to select, from scores of edges.
        nodes: the number of nodes to select, from scores of nodes.
        neurons: the number of neurons to select, from scores of neurons.
        fraction: the share of all to select, between 0 and 1; the number is rounded down, as in MIB.
        threshold: select what scores at least this, in absolute value unless ``signed``; method ``top`` only.
        method: the name of a registered selection method (see ``selections()``), or a selection object.
        signed: prefer large scores; if false, large absolute scores.
        prune: remove edges that are on no path from the embedding to the logits, so that the circuit may have fewer
            edges than were selected.
        **options: options of the method; ``eap selections NAME`` lists them.

    Raises:
        UsageError: if a name, an option or the size is wrong.
    """
    provider = method if isinstance(method, Selection) else selections()[method]
    if threshold is not None and provider.name != "top":
        raise UsageError(f"a threshold selects by score alone, as method top does; give {provider.name} a size")
    counts = {"edge": edges, "node": nodes, "neuron": neurons}
    for level, count in counts.items():
        if count is not None and level != scores.level:
            raise UsageError(f"these are scores of {scores.level}s; give the size as {scores.level}s=, not {level}s=")
    flat = scores.sum_positions()
    size = size_of(flat, count=counts[scores.level], fraction=fraction, threshold=threshold, signed=signed)
    chosen = build_options(provider.options, options, owner=provider.name)
    return select_circuit(flat, size, provider, chosen, signed=signed, prune=prune)
