"""The cases: which options go with which family and which data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from tests.matrix.covering import Row, covering
from tests.matrix.factors import ALGORITHMS, DATA
from tests.oracle.layout import LAYOUTS
from tests.support.zoo import FAMILIES, experts

FULL = os.environ.get("MATRIX") == "full"
"""Whether the whole matrix is wanted."""


@dataclass(frozen=True)
class Case:
    """One run of an algorithm, on both backends and by the oracle.

    Attributes:
        algorithm: its name.
        options: what is given to it.
        padding: the side on which prompts are padded.
        batch_size: how many prompt pairs are run at a time.
        backends: those that it is run on.
    """

    algorithm: str
    options: dict[str, Any]
    padding: str
    batch_size: int | None
    backends: tuple[str, ...]

    def refused(self, family: str) -> bool:
        """Whether it needs what cannot be seen: the hidden layers of experts, or norms that a projection follows."""
        frozen = self.algorithm == "relp" or (self.algorithm == "gim" and self.options.get("freeze_norms", True))
        if family == "opt_projected":
            return frozen
        if family not in experts.RECIPES:
            return False
        halved = self.algorithm == "gim" and self.options.get("halve_products", True)
        return self.algorithm == "relp" or halved or (frozen and bool(LAYOUTS[family].mlp_post_norm))

    def __str__(self) -> str:
        """As in a report."""
        split = "" if self.batch_size is None else ", split"
        return f"{self.algorithm} {self.options}, padding {self.padding}{split}"


def cases(family: str, full: bool) -> Iterator[Case]:
    """List the cases of a family, the same ones every time.

    Args:
        family: a name of ``FAMILIES``.
        full: those of all families together have every pair of values, families included, for each algorithm; if
            not, every algorithm with every family, and every pair of values on some family.
    """
    for place, algorithm in enumerate(ALGORITHMS):
        rows = _full(algorithm) if full else _few(algorithm)
        for index, row in enumerate(rows, place):
            if FAMILIES[row["family"]] == family:
                simulated = index % SIMULATED_EVERY == 0 and algorithm not in NOT_SIMULATED
                yield _case(algorithm, row, BACKENDS if simulated else BACKENDS[:2])


BACKENDS = ("TransformerBridge", "nnsight", "simulated server")
SIMULATED_EVERY = 12
"""One case in so many is run on a simulated server, too, which takes several times as long."""

NOT_SIMULATED = ("acdc", "random")
"""Their scores are float32 in any model, which cannot be read back within ``InFloat64``."""


@cache
def _full(algorithm: str) -> list[Row]:
    return covering({"family": FAMILIES, **DATA, **ALGORITHMS[algorithm]})


SLOW = "acdc"
"""Not run on every family unless the whole matrix is wanted."""


@cache
def _few(algorithm: str) -> list[Row]:
    """Families in turn get the next row of an array that covers everything else."""
    rows = covering({**DATA, **ALGORITHMS[algorithm]})
    n = len(rows) if algorithm == SLOW else max(len(rows), len(FAMILIES))
    first = list(ALGORITHMS).index(algorithm)  # so that a family does not get the same data with every algorithm
    return [
        {"family": index * max(1, len(FAMILIES) // n) % len(FAMILIES), **rows[(index + first) % len(rows)]}
        for index in range(n)
    ]


def _case(algorithm: str, row: Row, backends: tuple[str, ...]) -> Case:
    options: dict[str, Any] = {}
    for factor, choices in ALGORITHMS[algorithm].items():
        options |= choices[row[factor]]
    padding, batch_size = (DATA[name][row[name]] for name in ("padding", "batch_size"))
    return Case(algorithm, options, padding, batch_size, backends)
