"""Folders of MIB's circuit track: for one task and model, the importances of all edges, or nine circuits.

Source: the track's instructions (github.com/hannamw/MIB-circuit-track, README, "Submitting to the MIB Leaderboard").
"""

from __future__ import annotations

import re
from pathlib import Path

from eap_plugin.circuits.select import select_circuit
from eap_plugin.circuits.selection.top import Top
from eap_plugin.errors import UsageError
from eap_plugin.model.edge_matrix import ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.score_format.base import Contents, Exportable, ScoreFormat
from eap_plugin.score_format.eap_ig.graph_file import GraphFile, file_of, losses
from eap_plugin.score_format.eap_ig.json_file import read_json
from eap_plugin.score_format.eap_ig.pt_file import read_pt, write_pt
from eap_plugin.score_format.grouping import split_groups

TASKS = ("ioi", "mcqa", "arithmetic-addition", "arithmetic-subtraction", "arc-easy", "arc-challenge")
MODELS = ("gpt2", "qwen2.5", "gemma2", "llama3", "interpbench")
PERCENTAGES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50)
"""The sizes of the nine circuits, as percentages of all edges."""

IMPORTANCES = "importances"
FOLDER = re.compile(f"({'|'.join(TASKS)})_({'|'.join(map(re.escape, MODELS))})")


class MibImportances(ScoreFormat):
    """A folder ``TASK_MODEL`` with the importances of all edges, nodes or neurons in one file."""

    name = "mib"
    summary = "a folder of a MIB submission, with importances"
    suffixes = ()
    holds = ("edge", "node", "neuron")

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        return path.is_dir() and bool(importance_files(path))

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + losses(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        files = importance_files(path)
        if len(files) != 1:
            raise UsageError(f"{path} must have one file of importances, found {len(files)}")
        return read_graph_file(files[0]).contents(graph)

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        content = file_of(results)
        write_pt(content, _made(path) / f"{IMPORTANCES}.pt")


class MibCircuits(ScoreFormat):
    """A folder ``TASK_MODEL`` with nine circuits, of the edges of largest absolute score, pruned as MIB does."""

    name = "mib-circuits"
    summary = "a folder of a MIB submission, with nine circuits"
    suffixes = ()
    holds = ("edge",)

    def recognizes(self, path: Path) -> bool:
        """See ``ScoreFormat.recognizes``."""
        return path.is_dir() and not importance_files(path) and len(circuit_files(path)) == len(PERCENTAGES)

    def losses(self, results: Exportable) -> list[str]:
        """See ``ScoreFormat.losses``."""
        return super().losses(results) + losses(results)

    def read(self, path: Path, graph: Graph | None = None) -> Contents:
        """See ``ScoreFormat.read``."""
        raise UsageError(f"{path} has {len(circuit_files(path))} circuits; give the path of one of its files")

    def write(self, results: Exportable, path: Path) -> None:
        """See ``ScoreFormat.write``."""
        if not isinstance(results, PruneScores):
            raise UsageError("nine circuits are selected from scores of edges; export a circuit as eap-ig-pt")
        flat = results.sum_positions()
        split = PruneScores(ungrouped(flat.graph), split_groups(flat.graph, flat.matrix.cpu()), flat.metadata)
        top = Top()
        contents = {
            size: file_of(select_circuit(split, int(size / 100 * split.n_edges), top, top.options()))
            for size in PERCENTAGES
        }
        folder = _made(path)
        for size, content in contents.items():
            write_pt(content, folder / f"{size}-percent.pt")


def importance_files(folder: Path) -> list[Path]:
    """Return the files of importances in a folder."""
    return [path for path in circuit_files(folder) if path.stem == IMPORTANCES]


def circuit_files(folder: Path) -> list[Path]:
    """Return the files of graphs in a folder, by name; hidden files do not count."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".json", ".pt") and path.name[0] != ".")


def read_graph_file(path: Path) -> GraphFile:
    """Read a file of EAP-IG's graphs, whether JSON or ``.pt``, with the errors of ``read_json`` and ``read_pt``."""
    return read_json(path) if path.suffix == ".json" else read_pt(path)


def _made(folder: Path) -> Path:
    """Make the folder of a task and model, which must have a name that MIB knows.

    Raises:
        UsageError: if it does not, or the folder above it is missing.
    """
    if not FOLDER.fullmatch(folder.name):
        raise UsageError(
            f"MIB's folders are named TASK_MODEL, such as ioi_gpt2, with tasks {', '.join(TASKS)} and models "
            f"{', '.join(MODELS)}; got {folder.name!r}"
        )
    if not folder.parent.is_dir():
        raise UsageError(f"cannot write {folder}: the folder {folder.parent} does not exist; make it first")
    folder.mkdir(exist_ok=True)
    return folder
