"""The tests of one circuit: which circuits are run, and what is computed from their scores.

1. Run the model, the circuit alone, and the model without the circuit.
2. Draw random circuits of the circuit's size; run each alone and the model without it.
3. Knock every edge out of the circuit, and random edges out of the circuit inflated by them.
4. Compute the tests that are asked for from these scores; runs that none of them needs are left out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.hypothesis_tests.against_random import distance, necessity, sufficiency
from eap_plugin.circuits.hypothesis_tests.equivalence import equivalence
from eap_plugin.circuits.hypothesis_tests.independence import independence
from eap_plugin.circuits.hypothesis_tests.minimality import minimality
from eap_plugin.circuits.hypothesis_tests.random_paths import RandomPaths
from eap_plugin.circuits.hypothesis_tests.result import HypothesisTest, Minimality
from eap_plugin.circuits.hypothesis_tests.settings import TESTS, HypothesisTestSettings
from eap_plugin.circuits.random_circuits import random_circuit
from eap_plugin.model.edge_matrix import edge_mask

AT_ONCE = 64
"""The most circuits that are handed over to be run at a time, which bounds the memory that their matrices take."""

Mask = Bool[Tensor, "sources readers"]
Run = Callable[[Sequence[Mask]], Float[Tensor, "circuits prompts"]]
"""Run circuits alone, all other edges patched, and return the metric on every prompt."""


def run_tests(circuit: Circuit, run: Run, settings: HypothesisTestSettings) -> tuple[HypothesisTest, ...]:
    """Make hypothesis tests on a circuit of edges, in the order of ``TESTS``.

    Args:
        circuit: the circuit.
        run: runs circuits of the same graph; it is called with at most ``AT_ONCE`` of them at a time.
        settings: which tests, and with what.

    Raises:
        UsageError: if the circuit is one of neurons, or it has no edge or all edges of the model.
    """
    settings.check(circuit)
    everything = edge_mask(circuit.graph)
    model, alone, without = run([everything, circuit.edges, circuit.complement().edges])
    strict = {"quantile": settings.quantile, "alpha": settings.alpha}
    draws = _draws(circuit, settings) if {"sufficiency", "necessity"} & set(settings.tests) else []
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


def _draws(circuit: Circuit, settings: HypothesisTestSettings) -> list[Mask]:
    """Draw random circuits of the circuit's size."""
    if settings.drawn == "edges":
        return [random_circuit(circuit, settings.seed + 1 + i).edges for i in range(settings.random_circuits)]
    source = RandomPaths(circuit.graph, settings.seed)
    return [source.circuit(circuit.n_edges) for _ in range(settings.random_circuits)]


def _minimality(
    circuit: Circuit, alone: Float[Tensor, "prompts"], run: Run, settings: HypothesisTestSettings
) -> Minimality:
    edges = circuit.edge_names
    if settings.max_edges is not None and settings.max_edges < len(edges):
        chosen = random.Random(settings.seed).sample(range(len(edges)), settings.max_edges)
        edges = [edges[place] for place in sorted(chosen)]
    effects = distance(_run(run, (_changed(circuit, circuit.graph.edge(edge), False) for edge in edges)), alone)
    return minimality(
        edges,
        effects,
        _addition_effects(circuit, alone, run, settings),
        quantile=settings.quantile,
        alpha=settings.alpha,
    )


def _addition_effects(
    circuit: Circuit, alone: Float[Tensor, "prompts"], run: Run, settings: HypothesisTestSettings
) -> Float[Tensor, "draws"]:
    """Return the effects of knocking random edges out of the circuit inflated by them."""
    if settings.drawn == "edges":
        missing = circuit.complement().edges.nonzero().tolist()
        drawn = random.Random(settings.seed).choices(missing, k=settings.random_circuits)
        return distance(_run(run, (_changed(circuit, (row, column), True) for row, column in drawn)), alone)
    source = RandomPaths(circuit.graph, settings.seed)
    pairs = [source.added(circuit.edges) for _ in range(settings.random_circuits)]
    inflated, knocked_out = (_run(run, masks) for masks in zip(*pairs, strict=True))
    return distance(inflated, knocked_out)


def _changed(circuit: Circuit, edge: tuple[int, int], kept: bool) -> Mask:
    """Return the circuit's edges with one edge kept or knocked out."""
    mask = circuit.edges.clone()
    mask[edge] = kept
    return mask


def _run(run: Run, masks: Iterable[Mask]) -> Float[Tensor, "circuits prompts"]:
    """Run circuits, a bounded number at a time."""
    left = iter(masks)
    parts = []
    while some := list(islice(left, AT_ONCE)):
        parts.append(run(some))
    return torch.cat(parts)
