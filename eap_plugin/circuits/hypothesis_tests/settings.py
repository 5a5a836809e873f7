"""Which hypothesis tests are made on a circuit, and with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.errors import UsageError, unknown_name

TESTS = ("sufficiency", "necessity", "minimality", "equivalence", "independence")


@dataclass(frozen=True)
class HypothesisTestSettings:
    """What hypothesis tests compare with, and how strict they are.

    Attributes:
        tests: the tests to make.
        random_circuits: the number of random circuits, and of random additions for minimality.
        drawn: what random circuits and additions are made of: "paths" from ``input`` to the logits, as in the paper, or
            "edges" drawn uniformly.
        max_edges: the most edges tested for minimality, drawn at random; ``None`` for all of the circuit.
        quantile: the share of random circuits or additions that is to be beaten.
        epsilon: how far from one half equivalence allows the chance of a higher score to be.
        permutations: the number of permutations in the test of independence.
        alpha: the significance level of each test.
        seed: the seed of everything random.
    """

    tests: tuple[str, ...] = TESTS
    random_circuits: int = 100
    drawn: Literal["paths", "edges"] = "paths"
    max_edges: int | None = None
    quantile: float = 0.9
    epsilon: float = 0.1
    permutations: int = 1000
    alpha: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: if a test is unknown, a number out of range, or the number of random circuits so small that
                beating all of them would not be significant.
        """
        for name in self.tests:
            if name not in TESTS:
                raise unknown_name("test", name, TESTS)
        if self.drawn not in ("paths", "edges"):
            raise UsageError(f"random circuits are drawn as 'paths' or 'edges', got {self.drawn!r}")
        for name, value in (("quantile", self.quantile), ("alpha", self.alpha)):
            if not 0 < value < 1:
                raise UsageError(f"{name} must be between 0 and 1, got {value}")
        if not 0 <= self.epsilon < 0.5:
            raise UsageError(f"epsilon must be at least 0 and below 0.5, got {self.epsilon}")
        if self.permutations < 1 or (self.max_edges is not None and self.max_edges < 1):
            raise UsageError("permutations and max_edges must be at least 1")
        if self.random_circuits < 1 or self.quantile**self.random_circuits > self.alpha:
            raise UsageError(
                f"with {self.random_circuits} random circuits no result could be significant (quantile "
                f"{self.quantile}, level {self.alpha}); use more of them"
            )

    def check(self, circuit: Circuit) -> None:
        """Check that a circuit can be tested.

        Raises:
            UsageError: if it is a circuit of neurons, or has no edge or all edges of the model.
        """
        if circuit.neurons is not None:
            raise UsageError("hypothesis tests compare sets of edges, but this is a circuit of neurons")
        if not 0 < circuit.n_edges < circuit.graph.n_edges:
            raise UsageError(
                f"hypothesis tests compare a circuit with others of its size, but this one has {circuit.n_edges} of "
                f"{circuit.graph.n_edges} edges; test one that has some, but not all"
            )

    def n_runs(self, circuit: Circuit) -> int:
        """Return the number of circuits that are run to test a circuit."""
        edges = circuit.n_edges if self.max_edges is None else min(circuit.n_edges, self.max_edges)
        draws = self.random_circuits
        additions = 2 * draws if self.drawn == "paths" else draws
        needed = {"sufficiency": draws, "necessity": draws, "minimality": edges + additions}
        return 3 + sum(needed.get(name, 0) for name in self.tests)
