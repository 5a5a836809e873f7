"""The tests of one circuit: which circuits are run, and what is computed from their scores.

1. Run the model, the circuit alone, and the model without the circuit.
2. Draw random circuits of the circuit's size; run each alone and the model without it.
3. Knock every edge out of the circuit, and random edges out of the circuit inflated by them.
4. Compute the tests that are asked for from these scores; runs that none of them needs are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.hypothesis_tests.against_random import distance, necessity, sufficiency
from eap_plugin.circuits.hypothesis_tests.equivalence import equivalence
from eap_plugin.circuits.hypothesis_tests.independence import independence
from eap_plugin.circuits.hypothesis_tests.minimality import minimality
from eap_plugin.circuits.hypothesis_tests.random_circuits import Drawn, RandomCircuits
from eap_plugin.circuits.hypothesis_tests.result import HypothesisTest, Minimality
from eap_plugin.errors import UsageError, unknown_name
from eap_plugin.model.edge_matrix import edge_mask

TESTS = ("sufficiency", "necessity", "minimality", "equivalence", "independence")
AT_ONCE = 64
"""The most circuits that are handed over to be run at a time, which bounds the memory that their matrices take."""

Mask = Bool[Tensor, "sources readers"]
Run = Callable[[Sequence[Mask]], Float[Tensor, "circuits prompts"]]
"""Run circuits alone, all other edges patched, and return the metric on every prompt."""


@dataclass(frozen=True)
class Settings:
    """What the tests compare with, and how strict they are.

    Attributes:
        tests: the tests to make.
        random_circuits: the number of random circuits, and of random additions for minimality.
        drawn: what random circuits are drawn from; see ``random_circuits``.
        max_edges: the most edges tested for minimality, drawn at random; ``None`` for all of the circuit.
        quantile: the share of random circuits or additions that is to be beaten.
        epsilon: how far from one half equivalence allows the chance of a higher score to be.
        permutations: the number of permutations in the test of independence.
        alpha: the significance level of each test.
        seed: the seed of everything random.
    """

    tests: tuple[str, ...] = TESTS
    random_circuits: int = 100
    drawn: Drawn = "paths"
    max_edges: int | None = None
    quantile: float = 0.9
    epsilon: float = 0.1
    permutations: int = 1000
    alpha: float = 0.05
    seed: int = 0


def count_runs(circuit: Circuit, settings: Settings) -> int:
    """Return the number of circuits that ``run_tests`` runs."""
    edges = circuit.n_edges if settings.max_edges is None else min(circuit.n_edges, settings.max_edges)
    draws = settings.random_circuits
    needed = {"sufficiency": draws, "necessity": draws, "minimality": edges + 2 * draws}
    return 3 + sum(needed.get(name, 0) for name in settings.tests)


def run_tests(circuit: Circuit, run: Run, settings: Settings) -> tuple[HypothesisTest, ...]:
    """Make hypothesis tests on a circuit of edges, in the order of ``TESTS``.

    Args:
        circuit: the circuit.
        run: runs circuits of the same graph; it is called with at most ``AT_ONCE`` of them at a time.
        settings: which tests, and with what.

    Raises:
        UsageError: if a test is unknown, the circuit is one of neurons, or it has no edge or all edges of the model.
    """
    for name in settings.tests:
        if name not in TESTS:
            raise unknown_name("test", name, TESTS)
    everything = edge_mask(circuit.graph)
    if circuit.neurons is not None:
        raise UsageError("hypothesis tests compare sets of edges, but this is a circuit of neurons")
    if not 0 < circuit.n_edges < int(everything.sum()):
        raise UsageError(
            f"hypothesis tests compare a circuit with others of its size, but this one has {circuit.n_edges} of "
            f"{circuit.graph.n_edges} edges; test one that has some, but not all"
        )
    model, alone, without = run([everything, circuit.edges, circuit.complement().edges])
    strict = {"quantile": settings.quantile, "alpha": settings.alpha}
    source = RandomCircuits(circuit.graph, settings.drawn, settings.seed)
    compared = {"sufficiency", "necessity"} & set(settings.tests)
    draws = [source.circuit(circuit.n_edges) for _ in range(settings.random_circuits if compared else 0)]
    makers: dict[str, Callable[[], HypothesisTest]] = {
        "sufficiency": lambda: sufficiency(model, alone, _run(run, draws), **strict),
        "necessity": lambda: necessity(model, without, _run(run, (everything & ~draw for draw in draws)), **strict),
        "minimality": lambda: _minimality(circuit, alone, run, settings),
        "equivalence": lambda: equivalence(model, alone, epsilon=settings.epsilon, alpha=settings.alpha),
        "independence": lambda: independence(
            model, without, permutations=settings.permutations, seed=settings.seed, alpha=settings.alpha
        ),
    }
    return tuple(makers[name]() for name in TESTS if name in settings.tests)


def _minimality(circuit: Circuit, alone: Float[Tensor, "prompts"], run: Run, settings: Settings) -> Minimality:
    edges = circuit.edge_names
    if settings.max_edges is not None and settings.max_edges < len(edges):
        chosen = random.Random(settings.seed).sample(range(len(edges)), settings.max_edges)
        edges = [edges[place] for place in sorted(chosen)]
    effects = distance(_run(run, (_without(circuit, edge) for edge in edges)), alone)
    source = RandomCircuits(circuit.graph, settings.drawn, settings.seed)
    pairs = [source.addition(circuit.edges) for _ in range(settings.random_circuits)]
    inflated, knocked_out = (_run(run, masks) for masks in zip(*pairs, strict=True))
    return minimality(edges, effects, distance(inflated, knocked_out), quantile=settings.quantile, alpha=settings.alpha)


def _without(circuit: Circuit, edge: str) -> Mask:
    mask = circuit.edges.clone()
    mask[circuit.graph.edge(edge)] = False
    return mask


def _run(run: Run, masks: Iterable[Mask]) -> Float[Tensor, "circuits prompts"]:
    """Run circuits, a bounded number at a time."""
    left = iter(masks)
    parts = []
    while some := list(islice(left, AT_ONCE)):
        parts.append(run(some))
    return torch.cat(parts)
