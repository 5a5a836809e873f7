"""Comparison of two circuits of the same graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.comparison.ranking import chance_overlap
from eap_plugin.errors import UsageError
from eap_plugin.results.text_table import fixed, shortened, text_table

SHOWN = 10
"""How many of the edges that only one circuit has are printed; ``to_dict`` has all."""


@dataclass(frozen=True)
class CircuitComparison:
    """How far two circuits have the same edges.

    Attributes:
        names: the names of the two.
        n: the number of edges of the graph.
        sizes: the number of edges of each.
        shared: the number of edges that both have.
        expected: how many they would share by chance, if one were drawn at random (hypergeometric distribution).
        p_value: the probability that they share at least as many by chance.
        jaccard: shared edges / edges of either; NaN if both are empty.
        overlap: shared edges / edges of the smaller one; NaN if it is empty.
        only: the names of the edges that only the first has, and of those that only the second has.
    """

    names: tuple[str, str]
    n: int
    sizes: tuple[int, int]
    shared: int
    expected: float
    p_value: float
    jaccard: float
    overlap: float
    only: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def similarities(self) -> dict[str, float]:
        """The numbers that stand for the comparison where there are many."""
        return {
            "shared edges / edges of either (Jaccard)": self.jaccard,
            "shared edges / edges of the smaller one": self.overlap,
        }

    def table(self) -> str:
        """Return the comparison as text of at most 80 columns."""
        shared = f"{self.shared} of {self.n:,} edges; by chance {self.expected:.2f} (p = {self.p_value:.1e})"
        lines = [
            *(
                f"{letter}  {shortened(name, 60)}: {size:,} edges"
                for letter, name, size in zip("AB", self.names, self.sizes, strict=True)
            ),
            "",
            f"shared    {shared}",
            f"Jaccard   {fixed(self.jaccard, signed=False)}",
            f"overlap   {fixed(self.overlap, signed=False)} of the smaller one",
        ]
        for letter, edges in zip("AB", self.only, strict=True):
            if edges:
                more = f"  and {len(edges) - SHOWN} more" if len(edges) > SHOWN else ""
                lines += ["", text_table((f"Only in {letter}: {len(edges)}",), [(edge,) for edge in edges[:SHOWN]])]
                lines += [more] * bool(more)
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        return asdict(self)


def compare_circuits(a: Circuit, b: Circuit, names: tuple[str, str]) -> CircuitComparison:
    """Compare the edges of two circuits; which neurons they keep is not compared.

    Raises:
        UsageError: if they are circuits of different graphs.
    """
    if a.graph != b.graph:
        raise UsageError(f"circuits of different graphs cannot be compared: {a.graph} and {b.graph}")
    first, second, total = a.edges.cpu(), b.edges.cpu(), a.graph.n_edges
    shared, either, smaller = int((first & second).sum()), int((first | second).sum()), min(a.n_edges, b.n_edges)
    only = tuple(
        tuple(a.graph.edge_name(row, column) for row, column in rest.nonzero().tolist())
        for rest in (first & ~second, second & ~first)
    )
    return CircuitComparison(
        names,
        total,
        (a.n_edges, b.n_edges),
        *chance_overlap(shared, a.n_edges, b.n_edges, total),
        shared / either if either else float("nan"),
        shared / smaller if smaller else float("nan"),
        (only[0], only[1]),
    )
