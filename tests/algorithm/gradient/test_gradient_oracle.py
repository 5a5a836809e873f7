"""Every gradient method against plain autograd on moved runs, on both backends."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.algorithm.gradient.test_eap_oracle import worst
from tests.oracle import methods
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import ARCHITECTURES, build, prompts

pytestmark = pytest.mark.exhaustive

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
FEW = ("gpt2", "gemma3", "olmo2", "gptj", "falcon", "mixtral")
"""Learned positions; grouped heads and post-norms; post-norms alone; parallel blocks; one key head; experts."""

PROMPTS = prompts(3, 6, seed=1)
ABLATIONS = ("zero", "mean", "mean-per-position")
METHODS: dict[str, tuple[dict[str, Any], Callable[[Oracle], Any]]] = {
    "eap-ig-inputs": ({"steps": 3}, lambda oracle: methods.eap_ig_inputs(oracle, (1, 2 / 3, 1 / 3))),
    "eap-ig-inputs, midpoint": (
        {"steps": 2, "rule": "midpoint"},
        lambda oracle: methods.eap_ig_inputs(oracle, (3 / 4, 1 / 4)),
    ),
    "eap-ig-activations": ({"steps": 2}, lambda oracle: methods.eap_ig_activations(oracle, (1 / 2, 0))),
    "eap-ig-activations, midpoint": (
        {"steps": 1, "rule": "midpoint"},
        lambda oracle: methods.eap_ig_activations(oracle, (1 / 2,)),
    ),
    "clean-corrupted": ({}, methods.clean_corrupted),
    "eap-gp": ({"steps": 2, "length": 0.5}, lambda oracle: methods.eap_gp(oracle, 2, 0.5)),
}
EVERY_MODEL = ("eap-ig-inputs", "clean-corrupted", "eap-gp")
EVERYWHERE = [*((name, "TransformerBridge") for name in ARCHITECTURES), *((name, "nnsight") for name in FEW)]
RUNS = [(*where, method) for where in EVERYWHERE for method in METHODS if where[0] in FEW or method in EVERY_MODEL]


@cache
def oracle(name: str, ablation: str = "corrupt") -> Oracle:
    model = build(name, torch.float64)
    with InFloat64():
        return Oracle(model, name, PROMPTS, ablation)


@cache
def expected(name: str, method: str, ablation: str = "corrupt") -> dict[Any, Tensor]:
    judge = oracle(name, ablation)
    with InFloat64():
        return METHODS[method][1](judge)


def ours(name: str, backend: str, algorithm: str, **options: Any) -> Any:
    model = BACKENDS[backend](build(name, torch.float64))
    with InFloat64():
        return eap_plugin.prune_scores(model, [Batch(*PROMPTS)], algorithm=algorithm, **options)


def summed(scores: dict[Any, Tensor]) -> dict[Any, float]:
    return {edge: score.sum().item() for edge, score in scores.items()}


@pytest.mark.parametrize(("name", "backend", "method"), RUNS)
def test_a_method(name: str, backend: str, method: str, record_property: pytest.RecordProperty) -> None:
    options, _ = METHODS[method]
    scores = ours(name, backend, method.partition(",")[0], **options)
    error = worst(scores, summed(expected(name, method)))
    record_property("largest relative error", f"{error:.1e}")
    assert error <= 1e-11


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_ablations(name: str, ablation: str) -> None:
    judge = oracle(name, ablation)
    with InFloat64():
        want = judge.scores(judge.gradients())
    assert worst(ours(name, "TransformerBridge", "eap", ablation=ablation), summed(want)) <= 1e-11


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_ablations_along_paths(method: str, ablation: str) -> None:
    options, _ = METHODS[method]
    scores = ours("gemma3", "nnsight", method.partition(",")[0], ablation=ablation, **options)
    assert worst(scores, summed(expected("gemma3", method, ablation))) <= 1e-11


@pytest.mark.parametrize("method", METHODS)
def test_positions_and_summed_qkv(method: str) -> None:
    options, _ = METHODS[method]
    algorithm, want = method.partition(",")[0], expected("gemma3", method)
    scores = ours("gemma3", "TransformerBridge", algorithm, positions=True, **options)
    assert worst(scores, {edge: score.sum(dim=(0, 2)) for edge, score in want.items()}) <= 1e-11
    together = ours("gemma3", "TransformerBridge", algorithm, qkv="summed", **options)
    torch.testing.assert_close(together.matrix, scores.sum_positions().sum_qkv().matrix)


@pytest.mark.parametrize("corruption", [0.0, 0.5])
@pytest.mark.parametrize(("name", "backend"), EVERYWHERE)
def test_neurons_and_nodes(name: str, corruption: float, backend: str) -> None:
    """On the clean run, and half-way along the line of embeddings."""
    judge = oracle(name)
    with InFloat64():
        want = torch.stack([judge.neurons(writer, corruption) for writer in judge.change])
    how: dict[str, Any] = {"algorithm": "eap-ig-inputs", "steps": 1, "rule": "midpoint"}
    options = how if corruption else {"algorithm": "eap"}
    neurons = ours(name, backend, level="neuron", **options)
    assert neurons.graph.sources == tuple(judge.change)
    assert neurons.matrix.shape == want.shape
    largest = float(want.abs().max())
    assert float((neurons.matrix - want).abs().max()) <= 1e-11 * largest
    nodes = ours(name, backend, level="node", **options)
    assert float((nodes.matrix - want.sum(1)).abs().max()) <= 1e-11 * float(want.sum(1).abs().max())


@pytest.mark.parametrize(
    ("algorithm", "options"),
    [
        ("clean-corrupted", {}),
        ("eap-gp", {"steps": 2}),
        ("eap-ig-activations", {"steps": 2}),
        ("eap-ig-activations", {"steps": 2, "scored": "all"}),
        ("mask-gradient", {"samples": 2}),
    ],
)
@pytest.mark.parametrize("name", ["gpt2", "gemma3", "falcon"])
def test_edges_add_up_to_nodes_and_neurons_to_both(name: str, algorithm: str, options: dict[str, Any]) -> None:
    edges, nodes, neurons = (
        ours(name, "TransformerBridge", algorithm, level=level, **options) for level in ("edge", "node", "neuron")
    )
    torch.testing.assert_close(nodes.matrix, edges.matrix.sum(1))
    torch.testing.assert_close(neurons.matrix.sum(1), nodes.matrix)
