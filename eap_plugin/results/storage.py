"""Score files: one safetensors matrix, with graph and provenance as JSON in the header. Never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.files import write_whole
from eap_plugin.model.graph import Graph
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores

SCHEMA = 1
"""Raised whenever an older version of this package would misread the file."""

_KEY = "eap_plugin"


def save_scores(scores: PruneScores | NodeScores, path: str | Path) -> None:
    """Write scores to ``path``: to a temporary file beside it first, then renamed.

    Raises:
        UsageError: if the folder does not exist.
        EapPluginError: if it cannot be written.
    """
    header = {"schema": SCHEMA, "graph": scores.graph.to_dict(), "metadata": scores.metadata, "level": scores.level}
    data = save({"matrix": scores.matrix.detach().cpu().contiguous()}, {_KEY: json.dumps(header)})
    write_whole(Path(path), data)


def load_scores(path: str | Path, graph: Graph | None = None) -> PruneScores | NodeScores:
    """Read scores of any level from ``path``; see ``PruneScores.load``."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the score file in it")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY)
            if header is None:
                raise UsageError(f"{path} is a safetensors file, but not one that eap-plugin wrote")
            scores = _parse(json.loads(header), file.get_tensor("matrix"), path)
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{path} is not a whole score file ({error}); save the scores again") from error
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error
    if graph is not None and scores.graph != graph:
        raise UsageError(f"{path} holds scores of another graph: {scores.graph}; expected {graph}")
    return scores


def _parse(header: dict[str, Any], matrix: Tensor, path: Path) -> PruneScores | NodeScores:
    if int(header["schema"]) > SCHEMA:
        raise UsageError(
            f"{path} is of schema {header['schema']}, this version reads up to {SCHEMA}; upgrade eap-plugin to read it"
        )
    return scores_of(header.get("level", "edge"), Graph(**header["graph"]), matrix, dict(header["metadata"]))


def scores_of(level: str, graph: Graph, matrix: Tensor, metadata: dict[str, Any]) -> PruneScores | NodeScores:
    """The scores that a matrix is.

    Raises:
        UsageError: if it has not the shape of that level's.
    """
    if level == "edge":
        return PruneScores(graph, matrix, metadata)
    return NodeScores(graph, matrix, "neuron" if level == "neuron" else "node", metadata)
