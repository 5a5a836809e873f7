"""The circuit of a compiled program, derived from its weights and the labels of its residual stream's directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float32]
Place = Literal["earlier", "last"]
"""A position in a prompt: the last token, which the metric reads, or an earlier one."""

Node = tuple[str, Place]


@dataclass(frozen=True)
class Layer:
    """The weights of a layer with one head, each of shape [input, output]."""

    q: Matrix
    k: Matrix
    v: Matrix
    o: Matrix
    mlp_in: Matrix
    mlp_out: Matrix


class Circuit:
    """The edges through which differences between prompts reach the logits of the last token, according to the weights.

    Attributes:
        changing: the directions of the residual stream in which a writer's output may vary, by writer and place.
        fed: the writers whose variation affects each reader.
    """

    def __init__(self, labels: list[str], layers: list[Layer], unembed: Matrix, tokens: dict[Place, set[str]]) -> None:
        self._labels = labels
        self.changing: dict[Node, set[str]] = {
            ("input", place): {f"tokens:{token}" for token in tokens[place]} for place in get_args(Place)
        }
        self.fed: dict[Node, list[Node]] = {}
        for index, layer in enumerate(layers):
            head, mlp = f"a{index}.h0", f"m{index}"
            reads = {"q": layer.q @ layer.k.T, "k": layer.k @ layer.q.T, "v": layer.v}
            for place in get_args(Place):
                keys = get_args(Place) if place == "last" else ("earlier",)
                for slot, matrix in reads.items():
                    self._feed((f"{head}<{slot}>", place), matrix, (place,) if slot == "q" else keys)
            for place in get_args(Place):
                self._write((head, place), [(f"{head}<{slot}>", place) for slot in reads], layer.v @ layer.o)
            for place in get_args(Place):
                self._feed((mlp, place), layer.mlp_in, (place,))
                self._write((mlp, place), [(mlp, place)], layer.mlp_out)
        self._feed(("logits", "last"), unembed, ("last",))

    def _feed(self, reader: Node, matrix: Matrix, places: tuple[Place, ...]) -> None:
        self.fed[reader] = [
            writer for writer, labels in self.changing.items() if writer[1] in places and self._varies(labels, matrix)
        ]

    def _write(self, writer: Node, readers: list[Node], matrix: Matrix) -> None:
        if any(self.fed[reader] for reader in readers):
            self.changing[writer] = {self._labels[i] for i in np.flatnonzero(matrix.any(axis=0))}

    def _varies(self, labels: set[str], matrix: Matrix) -> bool:
        """Return whether the image of a variable under a matrix varies; ``labels`` are the variable's values.

        A categorical variable has one direction per value, exactly one of which is 1, so its variation is a difference
        of two directions. A numerical variable has one direction.
        """
        variables: dict[str, list[int]] = {}
        for label in labels:
            variables.setdefault(label.partition(":")[0], []).append(self._labels.index(label))
        return any(np.any(matrix[rows] - (matrix[rows[0]] if len(rows) > 1 else 0)) for rows in variables.values())

    def edges(self) -> list[str]:
        """Return the edges with a path to the logits, those nearest to the input first."""
        needed: set[Node] = {("logits", "last")}
        edges: list[str] = []
        for (reader, place), writers in reversed(self.fed.items()):
            if (reader.partition("<")[0], place) in needed:
                needed.update(writers)
                edges += [f"{writer}->{reader}" for writer, _ in reversed(writers)]
        return list(dict.fromkeys(reversed(edges)))
