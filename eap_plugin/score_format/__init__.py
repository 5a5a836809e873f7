"""The built-in formats of files with scores and circuits, registered through the same hook as any plugin's."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eap_plugin.host import hookimpl

if TYPE_CHECKING:
    from eap_plugin.score_format.base import ScoreFormat


@hookimpl
def register_score_formats(register: Callable[[ScoreFormat], None]) -> None:
    """Register the formats."""
    from eap_plugin.score_format.auto_circuit import AutoCircuitPt
    from eap_plugin.score_format.csv_table import Csv
    from eap_plugin.score_format.dot import Dot
    from eap_plugin.score_format.eap_ig.json_file import EapIgJson
    from eap_plugin.score_format.eap_ig.pt_file import EapIgPt
    from eap_plugin.score_format.graphml import GraphMl
    from eap_plugin.score_format.mib import MibCircuits, MibImportances
    from eap_plugin.score_format.native import CircuitJson, SafetensorsScores
    from eap_plugin.score_format.neuronpedia import Neuronpedia
    from eap_plugin.score_format.parquet import Parquet

    register(SafetensorsScores())
    register(CircuitJson())
    register(EapIgJson())
    register(EapIgPt())
    register(MibImportances())
    register(MibCircuits())
    register(AutoCircuitPt())
    register(Neuronpedia())
    register(Csv())
    register(Parquet())
    register(GraphMl())
    register(Dot())
