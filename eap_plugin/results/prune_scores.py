"""Prune scores: one signed number per edge, accessed as a matrix, by AutoCircuit's module names, or by edge name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.errors import UsageError, unknown_name
from eap_plugin.model.edge_matrix import edge_mask, sum_qkv
from eap_plugin.model.graph import Graph
from eap_plugin.results.displayable import Displayable
from eap_plugin.results.export import between, from_modules, to_numpy, to_pandas
from eap_plugin.results.grouped import Grouped, same_groups
from eap_plugin.results.storage import ScoreFile, read_score_file


class Edge(NamedTuple):
    """An edge and its score.

    Attributes:
        name: the edge's name, such as ``a0.h1->a3.h2<q>``.
        source: the writer's name.
        reader: the reader's name.
        score: the score.
        position: the token position; ``None`` unless scores are kept per position.
        stderr: the standard error of the score; ``None`` unless scores are kept by group of prompts.
    """

    name: str
    source: str
    reader: str
    score: float
    position: int | None = None
    stderr: float | None = None


@dataclass(frozen=True, eq=False)
class PruneScores(Mapping[str, Tensor], Grouped, Displayable):
    """The score of every edge of a model.

    A positive score means that feeding the corrupt value through this edge alone lowers the metric. An edge's
    importance is the absolute value of its score.

    As a mapping, the scores have the layout of AutoCircuit's ``PruneScores``: from the name of a reader module
    (``blocks.0.hook_q_input``, …) to a tensor [heads, sources] or [sources], with sources in the order of
    ``graph.sources``. If scores are kept per position, the tensors have a leading position axis.

    Attributes:
        graph: the model's graph, which defines the edges and their order.
        matrix: [sources, readers] or [pos, sources, readers] in the graph's order, zero where there is no edge.
        metadata: the provenance of the scores: algorithm, options, metric, model, versions, task.
        groups: the scores summed over the prompts of each group, [groups, *shape of the matrix], which add up to the
            matrix; ``None`` unless scored with ``groups=``. ``stderr``, ``significant`` and ``resample`` need them.
        group_weights: see ``eap_plugin.results.grouped.Grouped``.
    """

    graph: Graph
    matrix: Float[Tensor, "*pos sources readers"]
    metadata: dict[str, Any] = field(default_factory=dict)
    groups: Float[Tensor, "groups *pos sources readers"] | None = None
    group_weights: Float[Tensor, "groups 2"] | None = None

    def __post_init__(self) -> None:
        """Check the shape."""
        expected = [len(self.graph.sources), len(self.graph.readers)]
        if self.matrix.ndim not in (2, 3) or list(self.matrix.shape[-2:]) != expected:
            raise UsageError(
                f"scores for this graph must be a [sources={expected[0]}, readers={expected[1]}] matrix, optionally "
                f"with a leading position axis; got {list(self.matrix.shape)}"
            )
        self._check_groups()

    def __getitem__(self, module: str) -> Tensor:
        """Return the scores of a reader module: [heads, sources] for attention, [sources] otherwise."""
        if module not in self.graph.modules:
            raise KeyError(str(unknown_name("reader module", module, self.graph.modules)))
        columns = self.graph.modules[module]
        reader = self.graph.readers[columns[0]]
        part = self.matrix[..., : reader.n_upstream, columns[0] : columns[-1] + 1].mT
        return part.squeeze(-2) if reader.slot in ("mlp", "logits") else part

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of reader modules, in forward order."""
        return iter(self.graph.modules)

    def __len__(self) -> int:
        """Return the number of reader modules."""
        return len(self.graph.modules)

    def __eq__(self, other: object) -> bool:
        """Return whether the graphs and all scores are equal; metadata and sums over groups may differ."""
        if not isinstance(other, PruneScores):
            return NotImplemented
        return self.graph == other.graph and torch.equal(self.matrix, other.matrix)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Summarize the scores in one line."""
        algorithm = self.metadata.get("algorithm", "edge")
        pos = f", {len(self.matrix)} positions" if self.has_positions else ""
        return f"<PruneScores: {algorithm} scores of {self.n_edges} edges{pos}>"

    @property
    def n_scored(self) -> int:
        """Number of scored edges, as ``n_edges``; ``NodeScores`` has it, too."""
        return self.n_edges

    @property
    def level(self) -> str:
        """The level of the scores, ``edge``; see ``NodeScores`` for the other levels."""
        return "edge"

    @property
    def has_positions(self) -> bool:
        """Whether scores are kept per token position."""
        return self.matrix.ndim == 3

    @property
    def n_edges(self) -> int:
        """Number of edges, not counting positions."""
        return self.graph.n_edges

    @property
    def is_edge(self) -> Bool[Tensor, "sources readers"]:
        """Boolean matrix that is true where the graph has an edge."""
        return edge_mask(self.graph).to(self.matrix.device)

    def edge(self, name: str) -> Float[Tensor, "*pos"]:
        """Return the score of an edge, given its name, such as ``a0.h1->a3.h2<q>``: a scalar, or [pos]."""
        row, column = self.graph.edge(name)
        return self.matrix[..., row, column]

    def top(self, k: int) -> list[Edge]:
        """Return the ``k`` edges of largest absolute score, largest first, ties in the graph's order."""
        strength = self.matrix.abs().masked_fill(~self.is_edge, -1).flatten()
        k = max(0, min(k, int(self.is_edge.sum()) * (len(self.matrix) if self.has_positions else 1)))
        order = torch.sort(strength, descending=True, stable=True).indices[:k].tolist()
        errors = None if self.groups is None else self.stderr.flatten()
        return [self._edge_at(index, None if errors is None else float(errors[index])) for index in order]

    def _edge_at(self, index: int, stderr: float | None) -> Edge:
        rest, column = divmod(index, len(self.graph.readers))
        position, row = divmod(rest, len(self.graph.sources))
        name = self.graph.edge_name(row, column)
        source, _, reader = name.partition("->")
        score = float(self.matrix.flatten()[index])
        return Edge(name, source, reader, score, position if self.has_positions else None, stderr)

    def _linear(self, how: str, change: Callable[[Tensor], Tensor], graph: Graph | None = None) -> PruneScores:
        """Return scores derived by a linear function of the matrix, which applies to the sums over groups, too."""
        groups = None if self.groups is None else torch.stack([change(part) for part in self.groups])
        return self._with(how, change(self.matrix), groups, graph)

    def _combined(self, how: str, other: PruneScores, combine: Callable[[Tensor, Tensor], Tensor]) -> PruneScores:
        """Return a linear function of two scores; sums over groups are kept if both have the same groups."""
        other = self._comparable(other)
        groups = None
        if self.groups is not None and other.groups is not None and same_groups(self, other):
            groups = combine(self.groups, other.groups)
        return self._with(how, combine(self.matrix, other.matrix), groups)

    def _with(self, how: str, matrix: Tensor, groups: Tensor | None = None, graph: Graph | None = None) -> PruneScores:
        """Return derived scores; ``how`` is appended to the list of derivations in their metadata."""
        about = self.metadata | {"derived": [*self.metadata.get("derived", []), how]}
        weights = None if groups is None else self.group_weights
        return PruneScores(graph or self.graph, matrix, about, groups, weights)

    def __abs__(self) -> PruneScores:
        """Return importances: the absolute value of every score. Sums over groups are not kept."""
        return self._with("absolute value", self.matrix.abs())

    abs = __abs__

    def __neg__(self) -> PruneScores:
        """Return the scores with every sign reversed."""
        return self._linear("negative", torch.neg)

    def __mul__(self, factor: float) -> PruneScores:
        """Multiply every score by a number."""
        return self._linear(f"times {factor}", lambda matrix: matrix * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> PruneScores:
        """Divide every score by a number."""
        return self._linear(f"divided by {divisor}", lambda matrix: matrix / divisor)

    def __add__(self, other: PruneScores) -> PruneScores:
        """Add scores of the same graph, edge by edge."""
        return self._combined("plus other scores", other, torch.add)

    def __sub__(self, other: PruneScores) -> PruneScores:
        """Subtract scores of the same graph, edge by edge."""
        return self._combined("minus other scores", other, torch.sub)

    def __gt__(self, threshold: float) -> Bool[Tensor, "*pos sources readers"]:
        """Return a boolean tensor that is true at the edges whose score is above ``threshold``."""
        return (self.matrix > threshold) & self.is_edge

    def __lt__(self, threshold: float) -> Bool[Tensor, "*pos sources readers"]:
        """Return a boolean tensor that is true at the edges whose score is below ``threshold``."""
        return (self.matrix < threshold) & self.is_edge

    def allclose(self, other: PruneScores, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
        """Return whether all scores are close, as defined by ``torch.allclose``."""
        return torch.allclose(self.matrix, self._comparable(other).matrix, rtol=rtol, atol=atol)

    def _comparable(self, other: PruneScores) -> PruneScores:
        if not isinstance(other, PruneScores):
            raise TypeError(f"expected PruneScores, got {type(other).__name__}")
        if self.graph != other.graph or self.matrix.shape != other.matrix.shape:
            raise UsageError(
                f"scores of different graphs or positions cannot be combined or compared: {self.graph} with shape "
                f"{list(self.matrix.shape)} and {other.graph} with shape {list(other.matrix.shape)}"
            )
        return other

    def at(self, position: int) -> PruneScores:
        """Return the scores at one token position, counted from the end if negative.

        Raises:
            UsageError: if scores are not kept per position, or there is no such position.
        """
        n_pos = len(self.matrix) if self.has_positions else 0
        if not -n_pos <= position < n_pos:
            found = f"{n_pos} positions" if n_pos else "no separate positions; score with positions=True to keep them"
            raise UsageError(f"there is no position {position}: the scores have {found}")
        return self._linear(f"at position {position}", lambda matrix: matrix[position])

    def between(self, source: str, reader: str) -> Float[Tensor, "*pos source_heads reader_heads"]:
        """Return the scores from one of TransformerLens' hook points to another.

        Args:
            source: a writers' hook point, such as ``blocks.0.attn.hook_result`` or ``blocks.0.hook_mlp_out``.
            reader: a readers' hook point, such as ``blocks.1.hook_q_input`` or ``blocks.1.hook_mlp_in``.

        Returns:
            The scores; where a hook point has no heads, its axis has length one.
        """
        return between(self.graph, self.matrix, source, reader)

    def to_numpy(self) -> Any:
        """Return the matrix as a NumPy array, [sources, readers] or [pos, sources, readers]."""
        return to_numpy(self.matrix)

    def to_pandas(self, tokens: Sequence[str] | None = None) -> Any:
        """Return a ``DataFrame`` with one row per edge, in the graph's order.

        The columns are ``edge``, ``source``, ``reader``, ``source_hook``, ``source_head``, ``reader_hook``,
        ``reader_head`` and ``score``; ``stderr`` if scores are kept by group. If scores are kept per position, there is
        one row per position and edge, and a column ``position``; with ``tokens`` also a column ``token``.

        Args:
            tokens: a label for each position, such as the tokens that all prompts share there.

        Raises:
            UsageError: if ``tokens`` does not have one entry per position.
            EapPluginError: if pandas is not installed.
        """
        return to_pandas(self.graph, self.matrix, tokens, None if self.groups is None else self.stderr)

    @staticmethod
    def from_dict(graph: Graph, modules: Mapping[str, Any]) -> PruneScores:
        """Make scores from AutoCircuit's layout: a mapping from reader module names to tensors or arrays.

        Raises:
            UsageError: if a module is missing or unknown, or its scores do not have the graph's shape.
        """
        return PruneScores(graph, from_modules(graph, modules))

    def sum_positions(self) -> PruneScores:
        """Sum the scores over token positions; return them unchanged if they are not kept per position."""
        return self._linear("summed over positions", lambda matrix: matrix.sum(0)) if self.has_positions else self

    def sum_qkv(self) -> PruneScores:
        """Sum the scores of each head's q, k and v inputs into one reader.

        With grouped-query attention, the readers of a whole key/value group become one. This is AutoCircuit's layout
        with ``separate_qkv=False``, whose reader modules are ``blocks.0.hook_attn_in``, ….
        """
        if self.graph.summed_qkv:
            return self
        summed = replace(self.graph, summed_qkv=True)
        return self._linear("q, k and v summed", lambda matrix: sum_qkv(self.graph, matrix)[1], summed)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file; see ``eap_plugin.results.storage``."""
        ScoreFile(self.level, self.graph, self.matrix, self.metadata, self.groups, self.group_weights).write(path)

    @staticmethod
    def load(path: str | Path, graph: Graph | None = None) -> PruneScores:
        """Read a file that ``save`` wrote.

        Args:
            path: the file.
            graph: if given, the graph that the scores must have.

        Raises:
            UsageError: if the file is missing, was not written by ``save``, is damaged, has a newer schema, holds
                scores of another level, or has another graph.
            EapPluginError: if the file cannot be read.
        """
        content = read_score_file(path, graph)
        if content.level != "edge":
            raise UsageError(f"{path} contains {content.level} scores; load it with NodeScores.load")
        return PruneScores(content.graph, content.matrix, content.metadata, content.groups, content.group_weights)
