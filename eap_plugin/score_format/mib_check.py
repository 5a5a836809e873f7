"""Whether a folder is a submission that MIB's circuit track takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.score_format.eap_ig.graph_file import GraphFile
from eap_plugin.score_format.mib import (
    FOLDER,
    MODELS,
    PERCENTAGES,
    TASKS,
    circuit_files,
    read_graph_file,
)

SIZES = {"gpt2": (12, 12), "qwen2.5": (24, 14), "gemma2": (26, 8), "llama3": (32, 32)}
"""The layers and heads of MIB's models: GPT-2 small, Qwen2.5-0.5B, Gemma 2 2B and Llama 3.1 8B."""

NEEDED = 2
"""The least number of models, and of tasks."""


def check_submission(folder: str | Path) -> list[str]:
    """Check a folder with one folder ``TASK_MODEL`` for each task and model, as MIB's circuit track takes it.

    The folders may also be one level further down, in folders whose names contain ``abs`` and end in ``True`` or
    ``False``, for the two ways to rank scores.

    Returns:
        One line for each fault; empty if there is none.

    Raises:
        UsageError: if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    ways = [path for path in _folders(folder) if "abs" in path.name and path.name.endswith(("True", "False"))]
    return [fault for way in ways or [folder] for fault in _faults(way)]


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _faults(folder: Path) -> Iterator[str]:
    models, tasks = set[str](), set[str]()
    for path in _folders(folder):
        found = FOLDER.fullmatch(path.name)
        if found is None:
            yield (f"{path}: not named TASK_MODEL with a task of {', '.join(TASKS)} and a model of {', '.join(MODELS)}")
            continue
        tasks.add(found[1])
        models.add(found[2])
        yield from _circuit_faults(path, found[2])
    for what, names in (("models", models), ("tasks", tasks)):
        if len(names) < NEEDED:
            yield f"{folder}: at least {NEEDED} {what} are needed, found {len(names)}"


def _circuit_faults(folder: Path, model: str) -> Iterator[str]:
    files = circuit_files(folder)
    wanted = f"one file of importances or {len(PERCENTAGES)} circuits"
    if len(files) not in (1, len(PERCENTAGES)):
        yield f"{folder}: {wanted} as .json or .pt are needed, found {len(files)} files"
        return
    counts = []
    for path in files:
        try:
            content = read_graph_file(path)
            contents = content.contents(None)
        except EapPluginError as error:
            text = str(error)
            yield text if str(path) in text else f"{path}: {text}"
            continue
        yield from _size_faults(content, path, model)
        if len(files) == 1 and contents.scores is None:
            yield f"{path}: has no importances, and there are no {len(PERCENTAGES)} circuits; {wanted} are needed"
        counts.append((_edges(content), path, content.graph.n_edges))
    if len(counts) == len(PERCENTAGES):
        for size, (edges, path, total) in zip(PERCENTAGES, sorted(counts), strict=True):
            if edges > size / 100 * total:
                yield (
                    f"{path}: has {edges:g} of {total} edges, which is more than {size} %; one of at most "
                    f"{', '.join(map(str, PERCENTAGES))} % each is needed"
                )


def _size_faults(content: GraphFile, path: Path, model: str) -> Iterator[str]:
    sizes = (content.graph.n_layers, content.graph.n_heads)
    if sizes != SIZES.get(model, sizes):
        layers, heads = SIZES[model]
        yield f"{path}: {model} has {layers} layers of {heads} heads, the file says {sizes[0]} of {sizes[1]}"


def _edges(content: GraphFile) -> float:
    """Return the number of edges as MIB counts it: each times the share of its writer's neurons that are kept."""
    return Circuit(content.graph, content.edges, content.neurons).weighted_edge_count
