"""Conversion of score matrices: NumPy arrays, pandas tables, AutoCircuit's dicts, TransformerLens' hook names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import UsageError, unknown_name
from eap_plugin.lazy import optional
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph


def to_numpy(matrix: Tensor) -> Any:
    """Copy a tensor to a NumPy array; bfloat16, which NumPy lacks, becomes float32."""
    matrix = matrix.float() if matrix.dtype == torch.bfloat16 else matrix
    return matrix.detach().cpu().numpy().copy()


def to_pandas(
    graph: Graph,
    matrix: Float[Tensor, "*pos sources readers"],
    tokens: Sequence[str] | None,
    stderr: Float[Tensor, "*pos sources readers"] | None = None,
) -> Any:
    """Make a ``DataFrame`` with one row per edge, or per edge and position if scores are kept per position.

    Args:
        graph: the graph.
        matrix: the scores.
        tokens: a label for each position; ``None`` for none.
        stderr: their standard errors; ``None`` if they are not known.

    Raises:
        UsageError: if ``tokens`` does not have one entry per position.
        EapPluginError: if pandas is not installed.
    """
    n_pos = len(matrix) if matrix.ndim == 3 else None
    if tokens is not None and len(tokens) != n_pos:
        found = f"{n_pos} positions" if n_pos else "no separate positions; score with positions=True to keep them"
        raise UsageError(f"tokens must have one entry per position; got {len(tokens)} tokens, and scores of {found}")
    pandas = optional("pandas", "to_pandas")
    rows, columns = (index.tolist() for index in edge_mask(graph).nonzero(as_tuple=True))
    readers = [graph.readers[column] for column in columns]
    hooks = [graph.hook_name(graph.sources[row]) for row in rows]
    targets = [graph.hook_name(graph.reader_name(reader), reader=True) for reader in readers]
    frame = pandas.DataFrame(
        {
            "edge": [graph.edge_name(row, column) for row, column in zip(rows, columns, strict=True)],
            "source": [graph.sources[row] for row in rows],
            "reader": [graph.reader_name(reader) for reader in readers],
            "source_hook": [hook.name for hook in hooks],
            "source_head": pandas.array([hook.head for hook in hooks], dtype="Int64"),
            "reader_hook": [hook.name for hook in targets],
            "reader_head": pandas.array([hook.head for hook in targets], dtype="Int64"),
        }
    )
    if n_pos is not None:
        places = [place for place in range(n_pos) for _ in rows]
        frame = pandas.concat([frame] * n_pos, ignore_index=True).assign(position=places)
        if tokens is not None:
            frame["token"] = [tokens[place] for place in places]
    for name, values in (("score", matrix), ("stderr", stderr)):
        if values is not None:
            frame[name] = to_numpy(values[..., rows, columns].flatten())
    return frame


def from_modules(graph: Graph, modules: Mapping[str, Any]) -> Float[Tensor, "*pos sources readers"]:
    """Return the score matrix of scores in AutoCircuit's layout, whose values are tensors or arrays.

    Raises:
        UsageError: if a module is missing or unknown, or its scores do not have the graph's shape.
    """
    unknown = [module for module in modules if module not in graph.modules]
    if unknown:
        raise unknown_name("reader module", unknown[0], graph.modules)
    missing = [module for module in graph.modules if module not in modules]
    if missing:
        raise UsageError(f"scores of {' and '.join(missing)} are missing; give scores for every reader module")
    parts = {module: torch.as_tensor(modules[module]) for module in graph.modules}
    last = list(parts.values())[-1]
    if last.ndim not in (1, 2):
        raise UsageError(f"scores into the logits must be [sources] or [pos, sources], got {list(last.shape)}")
    positions = last.shape[:-1]
    matrix = last.new_zeros(*positions, len(graph.sources), len(graph.readers))
    for module, part in parts.items():
        columns = graph.modules[module]
        reader = graph.readers[columns[0]]
        shape = (
            [*positions, reader.n_upstream]
            if reader.slot in ("mlp", "logits")
            else [*positions, len(columns), reader.n_upstream]
        )
        if list(part.shape) != shape:
            raise UsageError(
                f"scores of {module} must be {shape} for this graph, got {list(part.shape)}; for scores with a k "
                f"and a v reader for every query head, as AutoCircuit has them, give a graph with n_kv_heads = n_heads"
            )
        matrix[..., : reader.n_upstream, columns] = part.reshape(*positions, len(columns), reader.n_upstream).mT.to(
            matrix
        )
    return matrix


def between(
    graph: Graph, matrix: Float[Tensor, "*pos sources readers"], source: str, reader: str
) -> Float[Tensor, "*pos source_heads reader_heads"]:
    """Return the scores from one hook point to another, zero where there is no edge.

    Raises:
        UsageError: if ``source`` is not a writer's hook point, or ``reader`` not a reader's.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(graph.sources):
        rows.setdefault(graph.hook_name(name).name, []).append(row)
    if source not in rows:
        raise unknown_name("writers' hook", source, rows)
    if reader not in graph.modules:
        raise unknown_name("readers' hook", reader, graph.modules)
    return matrix[..., rows[source], :][..., graph.modules[reader]]
