"""This package's own files: scores as safetensors, circuits as JSON."""

from __future__ import annotations

from pathlib import Path

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError
from eap_plugin.model.graph import Graph
from eap_plugin.results.loading import read_scores
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat, require_graph
from eap_plugin.score_format.detection import json_opening


class SafetensorsScores(ScoreFormat):
    """The files that ``eap run -o`` writes; see ``eap_plugin.results.storage``."""

    name = "safetensors"
    summary = "this package's scores, with their provenance"
    suffixes = (".safetensors",)
    holds = ("edge", "node", "neuron")

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        scores = read_scores(path)
        require_graph(scores.graph, graph)
        return Contents(scores)

    def losses(self, results: Exportable) -> list[str]:
        """Return nothing: these files hold everything."""
        return []

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        if isinstance(results, Circuit):
            raise UsageError("safetensors files hold scores; save a circuit in the format circuit")
        results.save(path)


class CircuitJson(ScoreFormat):
    """The files that ``Circuit.save`` writes; see ``eap_plugin.circuits.storage``."""

    name = "circuit"
    summary = "this package's circuits, as JSON, with their provenance"
    suffixes = (".json",)
    holds = ("circuit",)

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        return super().recognizes(path) and json_opening(path)[0] == "eap_plugin"

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        return Contents(circuit=Circuit.load(path, graph))

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        if not isinstance(results, Circuit):
            raise UsageError("circuit files hold circuits; select one from the scores, with select or eap circuit")
        results.save(path)
