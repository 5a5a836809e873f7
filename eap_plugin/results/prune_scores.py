"""Prune scores: one signed number per edge, as a matrix, by AutoCircuit's module names, or by edge name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.errors import UsageError, unknown_name
from eap_plugin.model.edge_matrix import edge_mask, sum_qkv
from eap_plugin.model.graph import Graph
from eap_plugin.results.export import between, from_modules, to_numpy, to_pandas
from eap_plugin.results.storage import ScoreFile, read_score_file


class Edge(NamedTuple):
    """An edge with its score; ``position`` is the token position, if scores are kept per position."""

    name: str
    source: str
    reader: str
    score: float
    position: int | None = None


@dataclass(frozen=True, eq=False)
class PruneScores(Mapping[str, Tensor]):
    """The score of every edge of a model.

    A positive score: feeding the corrupt value through this edge alone lowers the metric. Importance is the absolute
    value.

    As a mapping it is AutoCircuit's ``PruneScores``: reader module name (``blocks.0.hook_q_input``, …) to a tensor
    [heads, sources] or [sources], sources in the order of ``graph.sources``; with positions, [pos, …] in front.

    Attributes:
        graph: which edges there are.
        matrix: [sources, readers] or [pos, sources, readers] in the graph's order, zero where there is no edge.
        metadata: where the scores come from: algorithm, options, metric, model, versions, task.
    """

    graph: Graph
    matrix: Float[Tensor, "*pos sources readers"]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the shape."""
        expected = [len(self.graph.sources), len(self.graph.readers)]
        if self.matrix.ndim not in (2, 3) or list(self.matrix.shape[-2:]) != expected:
            raise UsageError(
                f"scores for this graph are a matrix [sources={expected[0]}, readers={expected[1]}], with a leading "
                f"position axis or not; got {list(self.matrix.shape)}"
            )

    def __getitem__(self, module: str) -> Tensor:
        """The scores of a reader module: [heads, sources] for attention, [sources] otherwise."""
        if module not in self.graph.modules:
            raise KeyError(str(unknown_name("reader module", module, self.graph.modules)))
        columns = self.graph.modules[module]
        reader = self.graph.readers[columns[0]]
        part = self.matrix[..., : reader.n_upstream, columns[0] : columns[-1] + 1].mT
        return part.squeeze(-2) if reader.slot in ("mlp", "logits") else part

    def __iter__(self) -> Iterator[str]:
        """Reader module names, in forward order."""
        return iter(self.graph.modules)

    def __len__(self) -> int:
        """The number of reader modules."""
        return len(self.graph.modules)

    def __eq__(self, other: object) -> bool:
        """Whether graph and every score are the same; metadata may differ."""
        if not isinstance(other, PruneScores):
            return NotImplemented
        return self.graph == other.graph and torch.equal(self.matrix, other.matrix)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """What it holds, in a line."""
        algorithm = self.metadata.get("algorithm", "edge")
        pos = f", {len(self.matrix)} positions" if self.has_positions else ""
        return f"<PruneScores: {algorithm} scores of {self.n_edges} edges{pos}>"

    @property
    def n_scored(self) -> int:
        """The same as ``n_edges``; nodes and neurons have it as well."""
        return self.n_edges

    @property
    def level(self) -> str:
        """What is scored: ``edge``; see ``NodeScores`` for others."""
        return "edge"

    @property
    def has_positions(self) -> bool:
        """Whether scores are kept per token position."""
        return self.matrix.ndim == 3

    @property
    def n_edges(self) -> int:
        """How many edges are scored (each at every position, if positions are kept)."""
        return self.graph.n_edges

    @property
    def is_edge(self) -> Bool[Tensor, "sources readers"]:
        """True where the matrix has an edge."""
        return edge_mask(self.graph).to(self.matrix.device)

    def edge(self, name: str) -> Float[Tensor, "*pos"]:
        """The score of an edge by name, such as ``a0.h1->a3.h2<q>``: a scalar, or [pos]."""
        row, column = self.graph.edge(name)
        return self.matrix[..., row, column]

    def top(self, k: int) -> list[Edge]:
        """The ``k`` edges of largest absolute score, the largest first; ties in the graph's order."""
        strength = self.matrix.abs().masked_fill(~self.is_edge, -1).flatten()
        k = max(0, min(k, int(self.is_edge.sum()) * (len(self.matrix) if self.has_positions else 1)))
        order = torch.sort(strength, descending=True, stable=True).indices[:k].tolist()
        return [self._edge_at(index) for index in order]

    def _edge_at(self, index: int) -> Edge:
        rest, column = divmod(index, len(self.graph.readers))
        position, row = divmod(rest, len(self.graph.sources))
        name = self.graph.edge_name(row, column)
        source, _, reader = name.partition("->")
        score = float(self.matrix.flatten()[index])
        return Edge(name, source, reader, score, position if self.has_positions else None)

    def _with(self, how: str, matrix: Tensor, graph: Graph | None = None) -> PruneScores:
        """Scores derived from these; their metadata say how, after what they were derived from."""
        about = self.metadata | {"derived": [*self.metadata.get("derived", []), how]}
        return replace(self, matrix=matrix, graph=graph or self.graph, metadata=about)

    def __abs__(self) -> PruneScores:
        """Importance: the absolute value of every score."""
        return self._with("absolute value", self.matrix.abs())

    abs = __abs__

    def __neg__(self) -> PruneScores:
        """Every sign turned."""
        return self._with("negative", -self.matrix)

    def __mul__(self, factor: float) -> PruneScores:
        """Every score times a number."""
        return self._with(f"times {factor}", self.matrix * factor)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> PruneScores:
        """Every score divided by a number."""
        return self._with(f"divided by {divisor}", self.matrix / divisor)

    def __add__(self, other: PruneScores) -> PruneScores:
        """Edge by edge."""
        return self._with("plus other scores", self.matrix + self._comparable(other).matrix)

    def __sub__(self, other: PruneScores) -> PruneScores:
        """Edge by edge."""
        return self._with("minus other scores", self.matrix - self._comparable(other).matrix)

    def __gt__(self, threshold: float) -> Bool[Tensor, "*pos sources readers"]:
        """True at the edges whose score is above a number."""
        return (self.matrix > threshold) & self.is_edge

    def __lt__(self, threshold: float) -> Bool[Tensor, "*pos sources readers"]:
        """True at the edges whose score is below a number."""
        return (self.matrix < threshold) & self.is_edge

    def allclose(self, other: PruneScores, rtol: float = 1e-5, atol: float = 1e-8) -> bool:
        """Whether all scores agree as ``torch.allclose`` has it."""
        return torch.allclose(self.matrix, self._comparable(other).matrix, rtol=rtol, atol=atol)

    def _comparable(self, other: PruneScores) -> PruneScores:
        if not isinstance(other, PruneScores):
            raise TypeError(f"expected PruneScores, got {type(other).__name__}")
        if self.graph != other.graph or self.matrix.shape != other.matrix.shape:
            raise UsageError(f"scores of different graphs do not compare: {self.graph} and {other.graph}")
        return other

    def at(self, position: int) -> PruneScores:
        """Scores at one token position, counted from the end if negative.

        Raises:
            UsageError: if positions are not kept apart, or there is no such position.
        """
        n_pos = len(self.matrix) if self.has_positions else 0
        if not -n_pos <= position < n_pos:
            raise UsageError(
                f"there is no position {position}: scores are of {n_pos or 'no separate'} positions; "
                f"score with positions=True"
            )
        return self._with(f"at position {position}", self.matrix[position])

    def between(self, source: str, reader: str) -> Float[Tensor, "*pos source_heads reader_heads"]:
        """Scores from one of TransformerLens' hook points to another; an axis of length one where there are no heads.

        Args:
            source: of writers, such as ``blocks.0.attn.hook_result``, ``blocks.0.hook_mlp_out``.
            reader: of readers, such as ``blocks.1.hook_q_input``, ``blocks.1.hook_mlp_in``.
        """
        return between(self.graph, self.matrix, source, reader)

    def to_numpy(self) -> Any:
        """The matrix as an array, [sources, readers] or [pos, sources, readers]."""
        return to_numpy(self.matrix)

    def to_pandas(self, tokens: Sequence[str] | None = None) -> Any:
        """A ``DataFrame`` with a row for each edge, in the graph's order, and with positions for each at each of them.

        Columns: ``edge``, ``source``, ``reader``, ``source_hook``, ``source_head``, ``reader_hook``, ``reader_head``,
        with positions ``position`` and ``token``, and ``score``.

        Args:
            tokens: what to call each position, such as the tokens that all prompts have there.
        """
        return to_pandas(self.graph, self.matrix, tokens)

    @staticmethod
    def from_dict(graph: Graph, modules: Mapping[str, Any]) -> PruneScores:
        """Scores that are laid out as AutoCircuit's: reader module name to tensor or array.

        Raises:
            UsageError: if they are not of this graph.
        """
        return PruneScores(graph, from_modules(graph, modules))

    def sum_positions(self) -> PruneScores:
        """Scores summed over token positions."""
        return self._with("summed over positions", self.matrix.sum(0)) if self.has_positions else self

    def sum_qkv(self) -> PruneScores:
        """Each head's q, k and v inputs as one reader; with grouped-query attention, each key/value group's.

        This is AutoCircuit's layout with ``separate_qkv=False``, reader modules ``blocks.0.hook_attn_in``, ….
        """
        if self.graph.summed_qkv:
            return self
        graph, matrix = sum_qkv(self.graph, self.matrix)
        return self._with("q, k and v summed", matrix, graph)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, whole or not at all; see ``eap_plugin.results.storage``."""
        ScoreFile(self.level, self.graph, self.matrix, self.metadata).write(path)

    @staticmethod
    def load(path: str | Path, graph: Graph | None = None) -> PruneScores:
        """Read a file that ``save`` wrote.

        Args:
            path: the file.
            graph: the graph it must be for, if given.

        Raises:
            UsageError: if it is not such a file, is damaged, is of a newer schema, or is for another graph.
        """
        content = read_score_file(path, graph)
        if content.level != "edge":
            raise UsageError(f"{path} holds scores of {content.level}s; read it with NodeScores.load")
        return PruneScores(content.graph, content.matrix, content.metadata)
