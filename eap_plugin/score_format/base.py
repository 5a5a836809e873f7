"""The interface of score formats: files of scores and circuits, this package's own and those of other tools."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.selection.base import Scores
from eap_plugin.errors import UsageError
from eap_plugin.model.graph import Graph

Exportable = Scores | Circuit
"""What can be written to a file."""


@dataclass(frozen=True, eq=False)
class Contents:
    """The contents of a file: scores, a circuit, or scores and the circuit that was selected from them.

    Attributes:
        scores: the scores of all edges, nodes or neurons; ``None`` if some are not in the file.
        circuit: the circuit; ``None`` if the file has none.
    """

    scores: Scores | None = None
    circuit: Circuit | None = None

    def __post_init__(self) -> None:
        """Check that there is something."""
        if self.scores is None and self.circuit is None:
            raise UsageError("the file has neither scores nor a circuit")

    @property
    def main(self) -> Exportable:
        """The scores, or the circuit of a file that has no scores."""
        found = self.circuit if self.scores is None else self.scores
        assert found is not None
        return found


class ScoreFormat(ABC):
    """A format of files with scores or circuits.

    Attributes:
        name: the name by which users choose the format.
        summary: one line on which tool has it and what it holds.
        suffixes: the suffixes that such a file may have, such as ``(".json",)``; empty for folders.
        holds: what can be written in it: scores of an ``edge``, ``node`` or ``neuron`` each, or a ``circuit``.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    holds: ClassVar[tuple[str, ...]] = ("edge", "circuit")

    def recognizes(self, path: Path) -> bool:
        """Return whether this looks like such a file, without reading all of it."""
        return path.suffix.lower() in self.suffixes

    def losses(self, results: Exportable) -> list[str]:
        """Return what the format cannot hold of these results, one phrase for each, such as ``the provenance``."""
        kept_by_group = not isinstance(results, Circuit) and results.groups is not None
        return ["sums over groups of prompts, and so standard errors"] * kept_by_group

    @abstractmethod
    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """Read a file.

        Args:
            path: the file.
            graph: the model's graph, if the caller knows it. Files of tools that have one k and one v reader for each
                query head are converted to it; any other graph in the file is an error.

        Raises:
            UsageError: if the file is damaged, hostile or of another graph; one line with the place in the file.
        """

    @abstractmethod
    def write(self, results: Exportable, path: Path) -> None:
        """Write a file, completely or not at all.

        Raises:
            UsageError: if the format cannot hold such results, or the folder is missing.
            EapPluginError: if the file cannot be written.
        """


def kind_of(results: Exportable) -> str:
    """Return ``edge``, ``node`` or ``neuron`` for scores, or ``circuit``."""
    return "circuit" if isinstance(results, Circuit) else results.level


def require_graph(found: Graph, expected: Graph | None) -> None:
    """Check that a file has the graph that the caller expects, if any.

    Raises:
        UsageError: if it does not.
    """
    if expected is not None and found != expected:
        raise UsageError(f"the file has another graph: {found}; expected {expected}")


def described(kind: str) -> str:
    """Return what users call something of this kind, such as ``scores of edges``."""
    return "a circuit" if kind == "circuit" else f"scores of {kind}s"
