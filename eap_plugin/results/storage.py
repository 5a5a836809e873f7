"""Score files in the safetensors format: the score matrix and, if kept, its sums over groups of prompts, with
graph and provenance as JSON in the header.

Pickle is never used, so a score file from elsewhere cannot run code. A file is written to a temporary path and then
renamed, so it is never left incomplete.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from eap_plugin.errors import EapPluginError, UsageError, located, shown
from eap_plugin.files import write_whole
from eap_plugin.model.graph import Graph
from eap_plugin.model.stored_graph import stored_graph

SCHEMA = 1
"""Version of the format, increased whenever an older version of this package would misread the file."""

_KEY = "eap_plugin"
LEVELS = ("edge", "node", "neuron")
_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class ScoreFile:
    """The content of a score file.

    Attributes:
        level: ``edge``, ``node`` or ``neuron``.
        graph: the graph that the matrix belongs to.
        matrix: the scores.
        metadata: the provenance of the scores.
        groups: the sums over groups of prompts; ``None`` if they are not kept.
        group_weights: the weights of the groups; ``None`` if they are not kept, or all the same.
    """

    level: str
    graph: Graph
    matrix: Tensor
    metadata: dict[str, Any]
    groups: Tensor | None = None
    group_weights: Tensor | None = None

    def write(self, path: str | Path) -> None:
        """Write the file: to a temporary file next to ``path`` first, which is then renamed.

        Raises:
            UsageError: if the folder does not exist.
            EapPluginError: if the file cannot be written.
        """
        header = {"schema": SCHEMA, "graph": self.graph.to_dict(), "metadata": self.metadata, "level": self.level}
        tensors = {"matrix": self.matrix, "groups": self.groups, "group_weights": self.group_weights}
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items() if tensor is not None}
        write_whole(Path(path), save(kept, {_KEY: json.dumps(header)}))


def read_score_file(path: str | Path, graph: Graph | None = None) -> ScoreFile:
    """Read a file that ``ScoreFile.write`` wrote.

    Args:
        path: the file.
        graph: if given, the graph that the scores must have.

    Raises:
        UsageError: if the file is missing, was not written by ``ScoreFile.write``, is damaged, has a newer schema, or
            has another graph.
        EapPluginError: if the file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give the path of a score file")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_KEY)
            if header is None:
                raise UsageError(f"{path} is a safetensors file, but was not written by eap-plugin")
            names = [name for name in ("groups", "group_weights") if name in file.keys()]  # noqa: SIM118
            groups = {name: file.get_tensor(name) for name in names}
            content = _parse(json.loads(header), file.get_tensor("matrix"), groups, path)
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path} is not a complete score file ({error}); save the scores again") from error
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}") from None
    except OSError as error:
        raise EapPluginError(f"cannot read {path}: {error.strerror or error}") from error
    if graph is not None and content.graph != graph:
        raise UsageError(f"{path} has scores of another graph: {content.graph}; expected {graph}")
    return content


def _parse(header: dict[str, Any], matrix: Tensor, groups: dict[str, Tensor], path: Path) -> ScoreFile:
    if int(header["schema"]) > SCHEMA:
        raise UsageError(
            f"{path} has schema {header['schema']}, this version reads up to {SCHEMA}; upgrade eap-plugin to read it"
        )
    level = header.get("level", "edge")
    with located(f"{path} is not a complete score file"):
        if level not in LEVELS:
            raise UsageError(f"there are scores of {', '.join(f'{name}s' for name in LEVELS)}, not of {shown(level)}")
        graph = stored_graph(header["graph"], matrix.numel())
        for scores in (matrix, *groups.values()):
            check_finite(scores)
    return ScoreFile(level, graph, matrix, dict(header["metadata"]), **groups)


def check_finite(matrix: Tensor) -> None:
    """Check that scores read from a file are finite floating-point numbers.

    Raises:
        UsageError: if they are not; the message gives the first place.
    """
    if matrix.dtype not in _DTYPES:
        raise UsageError(f"scores are floating-point numbers, got {matrix.dtype}")
    wrong = (~matrix.isfinite()).nonzero()
    if len(wrong):
        place = wrong[0].tolist()
        raise UsageError(f"the score at {place} is {float(matrix[tuple(place)])}, expected finite numbers")
