"""The edges of a transformer: which writers to the residual stream feed which readers of it. Contains no tensors.

Nodes and edges are named as in EAP-IG and MIB (``input``, ``a3.h1``, ``m2``, ``logits``, ``a0.h1->a3.h2<q>``). The
names of reader modules and the order of sources are AutoCircuit's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple

from eap_plugin.errors import UsageError, unknown_name

Slot = Literal["q", "k", "v", "qkv", "mlp", "logits"]


class Reader(NamedTuple):
    """One reader of the residual stream: a head's q, k or v input (or all three summed), an MLP, or the logits.

    Attributes:
        slot: the kind of input that it is.
        layer: the layer it is in; for the logits, the last one.
        head: the head (for k and v, the key/value head; for qkv, the group); 0 for MLPs and the logits.
        n_upstream: the number of sources that come before it; exactly these first sources feed it.
    """

    slot: Slot
    layer: int
    head: int
    n_upstream: int


class Writer(NamedTuple):
    """One writer of the residual stream: the embedding, a head or an MLP.

    Attributes:
        kind: what writes; ``input`` is the embedding.
        layer: the layer it is in; 0 for ``input``.
        head: which head; 0 for the others.
    """

    kind: Literal["input", "head", "mlp"]
    layer: int
    head: int


class HookPoint(NamedTuple):
    """The TransformerLens name of a hook point; ``head`` is the index on its head axis, if it has one."""

    name: str
    head: int | None = None


@dataclass(frozen=True)
class Graph:
    """The graph of a decoder-only transformer: its writers, readers and edges.

    Attributes:
        n_layers: the number of blocks.
        n_heads: the number of query heads per layer; each is a writer.
        n_kv_heads: the number of key/value heads per layer; each is a k reader and a v reader. Without grouped-query
            attention it equals ``n_heads``.
        parallel: whether attention and MLP of a block read the same residual stream, so that no head feeds the MLP of
            its own layer.
        has_mlp: false for attention-only models.
        summed_qkv: whether the q, k and v inputs of a head (with grouped-query attention: of a group) are one reader.
        sources: names of the writers, in the order of the matrix's rows: ``input``, then per layer heads and MLP.
        readers: in the order of the matrix's columns: per layer q, k, v heads and the MLP; the logits last.
        modules: for each module of AutoCircuit's layout, the columns of its readers, heads in order.
        rows: the row of each source, by name.
        columns: the column of each reader, by name.
    """

    n_layers: int
    n_heads: int
    n_kv_heads: int
    parallel: bool = False
    has_mlp: bool = True
    summed_qkv: bool = False
    sources: tuple[str, ...] = field(init=False, repr=False, compare=False)
    readers: tuple[Reader, ...] = field(init=False, repr=False, compare=False)
    modules: dict[str, tuple[int, ...]] = field(init=False, repr=False, compare=False)
    rows: dict[str, int] = field(init=False, repr=False, compare=False)
    columns: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the numbers, and derive the lists of writers and readers from them."""
        if min(self.n_layers, self.n_heads, self.n_kv_heads) < 1 or self.n_heads % self.n_kv_heads:
            raise UsageError(
                f"a graph needs at least one layer and head, and n_kv_heads must divide n_heads; got "
                f"{self.n_layers} layers, {self.n_heads} heads, {self.n_kv_heads} key/value heads"
            )
        sources = self._count_sources()
        readers = self._count_readers(len(sources))
        modules: dict[str, list[int]] = {}
        for column, reader in enumerate(readers):
            modules.setdefault(self.module_name(reader), []).append(column)
        counted = {
            "sources": sources,
            "readers": readers,
            "modules": {module: tuple(columns) for module, columns in modules.items()},
            "rows": {name: row for row, name in enumerate(sources)},
            "columns": {self.reader_name(reader): column for column, reader in enumerate(readers)},
        }
        for name, value in counted.items():
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[type[Graph], tuple[Any, ...]]:
        """Pickle only the arguments of the constructor."""
        return Graph, tuple(self.to_dict().values())

    @property
    def sources_per_layer(self) -> int:
        """The number of writers in a layer: its heads and, unless the model is attention-only, its MLP."""
        return self.n_heads + self.has_mlp

    def _count_sources(self) -> tuple[str, ...]:
        names = ["input"]
        for layer in range(self.n_layers):
            names += [f"a{layer}.h{head}" for head in range(self.n_heads)]
            names += [f"m{layer}"] * self.has_mlp
        return tuple(names)

    def _count_readers(self, n_sources: int) -> tuple[Reader, ...]:
        slots: tuple[tuple[Slot, int], ...] = (
            (("qkv", self.n_kv_heads),)
            if self.summed_qkv
            else (("q", self.n_heads), ("k", self.n_kv_heads), ("v", self.n_kv_heads))
        )
        out: list[Reader] = []
        for layer in range(self.n_layers):
            cut = self.head_row(layer)
            out += [Reader(slot, layer, head, cut) for slot, count in slots for head in range(count)]
            if self.has_mlp:
                out.append(Reader("mlp", layer, 0, cut if self.parallel else cut + self.n_heads))
        out.append(Reader("logits", self.n_layers - 1, 0, n_sources))
        return tuple(out)

    def writer(self, row: int) -> Writer:
        """Return the writer in a row of the matrix."""
        if row == 0:
            return Writer("input", 0, 0)
        layer, place = divmod(row - 1, self.sources_per_layer)
        return Writer("mlp", layer, 0) if place == self.n_heads else Writer("head", layer, place)

    def head_row(self, layer: int) -> int:
        """Return the row of a layer's first head; the layer's attention reads all rows before it."""
        return 1 + layer * self.sources_per_layer

    def mlp_row(self, layer: int) -> int:
        """Return the row of a layer's MLP."""
        return self.head_row(layer) + self.n_heads

    def reader_name(self, reader: Reader) -> str:
        """Return the name of a reader, such as ``a3.h2<q>``, ``m1`` or ``logits``."""
        if reader.slot == "mlp":
            return f"m{reader.layer}"
        if reader.slot == "logits":
            return "logits"
        if reader.slot == "qkv":
            group = "h" if self.n_heads == self.n_kv_heads else "g"
            return f"a{reader.layer}.{group}{reader.head}"
        return f"a{reader.layer}.h{reader.head}<{reader.slot}>"

    def module_name(self, reader: Reader) -> str:
        """Return the name of a reader's module in AutoCircuit's layout, such as ``blocks.0.hook_q_input``."""
        name = {
            "q": "hook_q_input",
            "k": "hook_k_input",
            "v": "hook_v_input",
            "qkv": "hook_attn_in",
            "mlp": "hook_mlp_in",
            "logits": "hook_resid_post",
        }[reader.slot]
        return f"blocks.{reader.layer}.{name}"

    @property
    def n_edges(self) -> int:
        """The number of edges."""
        return sum(reader.n_upstream for reader in self.readers)

    def edge_name(self, row: int, column: int) -> str:
        """Return the name of an edge, such as ``a0.h1->a3.h2<q>``."""
        return f"{self.sources[row]}->{self.reader_name(self.readers[column])}"

    def edge(self, name: str) -> tuple[int, int]:
        """Return the row and column of an edge given by name.

        Raises:
            UsageError: if the name is not of the form ``source->reader``, or the graph has no such edge.
        """
        source, arrow, reader = name.partition("->")
        if not arrow:
            raise UsageError(f"an edge is written source->reader, such as 'm0->logits'; got {name!r}")
        if source not in self.rows:
            raise unknown_name("source", source, self.sources)
        if reader not in self.columns:
            raise unknown_name("reader", reader, self.columns)
        row, column = self.rows[source], self.columns[reader]
        if row >= self.readers[column].n_upstream:
            raise UsageError(f"there is no edge {name!r}: {source} does not come before {reader}")
        return row, column

    def hook_name(self, node: str, reader: bool = False) -> HookPoint:
        """Return the TransformerLens hook point of a source's output, or of a reader's input before its norm.

        Args:
            node: the name of a source, such as ``a0.h1`` or ``m0``, or of a reader, such as ``a3.h2<q>``.
            reader: whether to read the name as that of a reader, since an MLP is both a source and a reader.

        Raises:
            UsageError: if there is no such source or reader.
        """
        if reader or (node in self.columns and node not in self.rows):
            if node not in self.columns:
                raise unknown_name("reader", node, self.columns)
            found = self.readers[self.columns[node]]
            return HookPoint(self.module_name(found), None if found.slot in ("mlp", "logits") else found.head)
        if node not in self.rows:
            raise unknown_name("source", node, self.sources)
        writer = self.writer(self.rows[node])
        if writer.kind == "input":
            return HookPoint("blocks.0.hook_resid_pre")
        if writer.kind == "mlp":
            return HookPoint(f"blocks.{writer.layer}.hook_mlp_out")
        return HookPoint(f"blocks.{writer.layer}.attn.hook_result", writer.head)

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the constructor as a dict, for files."""
        return {part.name: getattr(self, part.name) for part in fields(self) if part.init}
