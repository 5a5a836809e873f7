"""Where the nodes of a circuit are drawn: layers from bottom to top, heads and MLPs in their places."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.model.graph import Graph, Reader

PORTS = {"q": -0.5, "k": 0.0, "v": 0.5}
"""Where the q, k and v inputs of a head are along the lower side of its box, from -1 (left) to 1 (right)."""


ABOVE_HEADS, OVERLAP = 0.6, 0.3
"""How many rows an MLP is above the heads of its layer, and by how many rows layers with an MLP are higher."""


class Place(NamedTuple):
    """The centre of a node: x in columns of heads, from 0; y in rows, from 0 at the bottom."""

    x: float
    y: float


@dataclass(frozen=True)
class Layout:
    """The places of all nodes that are drawn.

    Attributes:
        places: the place of each node by name: ``input``, ``logits``, heads and MLPs.
        rows: for each row of attention, its layer and its y.
        n_columns: the number of columns of heads.
        n_rows: the height of all, in rows.
    """

    places: dict[str, Place]
    rows: dict[int, float]
    n_columns: int
    n_rows: float


def layout(circuit: Circuit) -> Layout:
    """Place the nodes of the layers that have any in the circuit; layers without any are left out.

    A layer's heads are in one row by their number, and its MLP is above them at the right, as it is computed after
    them; where the two run in parallel, it is in the same row.
    """
    graph = circuit.graph
    layers = sorted(
        {place for row, column in circuit.edges.nonzero().tolist() for place in _layers(graph, row, column)}
    )
    middle = (graph.n_heads - 1) / 2 + 0.5 * graph.has_mlp
    places, rows, y = {"input": Place(middle, 0.0)}, {}, 1.0
    for layer in layers:
        rows[layer] = y
        places |= {f"a{layer}.h{head}": Place(float(head), y) for head in range(graph.n_heads)}
        if graph.has_mlp:
            y += 0.0 if graph.parallel else ABOVE_HEADS
            places[f"m{layer}"] = Place(float(graph.n_heads), y)
        y += 1.0 - (ABOVE_HEADS - OVERLAP) * (graph.has_mlp and not graph.parallel)
    places["logits"] = Place(middle, y)
    return Layout(places, rows, graph.n_heads + graph.has_mlp, y + 1)


def targets(graph: Graph, reader: Reader) -> list[tuple[str, float]]:
    """Return the nodes that a reader belongs to, each with the place on its lower side from -1 to 1.

    With grouped-query attention, the k and v of a group belong to several heads; they are drawn at each.
    """
    if reader.slot == "logits":
        return [("logits", 0.0)]
    if reader.slot == "mlp":
        return [(f"m{reader.layer}", 0.0)]
    size = graph.n_heads // graph.n_kv_heads
    heads = [reader.head] if reader.slot == "q" else range(reader.head * size, (reader.head + 1) * size)
    return [(f"a{reader.layer}.h{head}", PORTS.get(reader.slot, 0.0)) for head in heads]


def _layers(graph: Graph, row: int, column: int) -> list[int]:
    """Return the layers of the ends of an edge, other than those of ``input`` and ``logits``."""
    writer, reader = graph.writer(row), graph.readers[column]
    return [writer.layer] * (writer.kind != "input") + [reader.layer] * (reader.slot != "logits")
