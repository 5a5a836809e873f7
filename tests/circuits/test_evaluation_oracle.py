"""Evaluated circuits against plain Hugging Face models whose readers are given what the definition says."""

from __future__ import annotations

from functools import cache
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.data.batch import Batch
from eap_plugin.interventions.counterfactual import Ablation
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from tests.oracle.circuits import patched_losses
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

TOKENS = prompts(3, 6)
BATCH = Batch(*TOKENS)
WRAPPERS = {"bridge": bridge, "nnsight": nnsight.NNsight}
SHARES = (0.1, 0.4, 0.6, 0.95)
ABLATIONS: tuple[Ablation, ...] = ("corrupt", "zero", "mean", "mean-per-position")
DEEP = ("gpt2", "llama", "gemma2", "gptj", "olmo2", "mixtral", "bloom", "gpt_neox")
"""Learned positions, grouped queries, norms after blocks, parallel blocks, experts, biases, two norms in a block."""


@cache
def wrapped(name: str, wrap: str) -> Any:
    return WRAPPERS[wrap](build(name, torch.float64))


@cache
def plain(name: str) -> Any:
    return build(name, torch.float64)


CASES = [(name, "corrupt") for name in DEEP] + [(name, ablation) for name in DEEP[:3] for ablation in ABLATIONS[1:]]


def random_edges(graph: Graph, share: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return edge_mask(graph) & (torch.rand(len(graph.sources), len(graph.readers), generator=generator) < share)


def expected(name: str, ablation: str, patched: list[Tensor], graph: Graph) -> list[float]:
    """Return the metric with each set of edges patched, by runs in which each reader is given what it reads."""
    edges = [(graph.sources[u], graph.reader_name(graph.readers[v])) for u, v in edge_mask(graph).nonzero().tolist()]
    rows = torch.stack([mask[edge_mask(graph)] for mask in patched])
    oracle = Oracle(plain(name), name, TOKENS, ablation)
    return (-patched_losses(oracle, edges, rows)).tolist()


@pytest.mark.parametrize("wrap", WRAPPERS)
@pytest.mark.parametrize(
    ("name", "ablation"), [(n, a) for n in DEEP for a in ABLATIONS if a == "corrupt" or n in DEEP[:3]]
)
def test_circuits_and_complements(name: str, ablation: Ablation, wrap: str) -> None:
    """Sparse and dense circuits, which are run from different sides."""
    model = wrapped(name, wrap)
    graph = eap_plugin.wrap_model(model).graph
    circuits = [Circuit(graph, random_edges(graph, share, seed)) for seed, share in enumerate(SHARES)]
    plain(name)  # made before the context below, so that its rotary angles are the same
    with InFloat64():
        kept = eap_plugin.evaluate(model, BATCH, circuits, ablation=ablation, resamples=0)
        cut = eap_plugin.evaluate(model, BATCH, circuits, ablation=ablation, complement=True, resamples=0)
        inside = [circuit.edges for circuit in circuits]
        outside = [edge_mask(graph) & ~edges for edges in inside]
        want = expected(name, ablation, [*outside, *inside], graph)
    found = [point.mean for result in (kept, cut) for point in result.points]
    assert found == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gptj"])
def test_ends_are_exact(name: str, ablation: Ablation) -> None:
    """The whole model is exactly 1 and nothing exactly 0; that both hold edge by edge is checked in every run."""
    model = wrapped(name, "bridge")
    graph = eap_plugin.wrap_model(model).graph
    whole, nothing = (Circuit(graph, random_edges(graph, share)) for share in (2.0, 0.0))
    found = eap_plugin.evaluate(model, BATCH, [whole, nothing], ablation=ablation)
    assert [point.faithfulness for point in found.points] == [1.0, 0.0]
    assert [tuple(point.interval or ()) for point in found.points] == [(1.0, 1.0), (0.0, 0.0)]
    assert torch.equal(found.points[0].metric, found.clean)
    assert torch.equal(found.points[1].metric, found.empty)
    if ablation == "corrupt":
        assert torch.equal(found.empty, found.corrupt)


@pytest.mark.parametrize(("name", "ablation"), [("llama", "corrupt"), ("gemma2", "zero")])
def test_a_single_edges_complement_is_its_exact_score(name: str, ablation: Ablation) -> None:
    model = wrapped(name, "bridge")
    scores = eap_plugin.prune_scores(model, [BATCH], algorithm="exact", ablation=ablation)
    names = [edge.name for edge in scores.top(scores.n_edges)[::9]]
    circuits = []
    for edge in names:
        edges = torch.zeros(scores.matrix.shape, dtype=torch.bool)
        edges[scores.graph.edge(edge)] = True
        circuits.append(Circuit(scores.graph, edges))
    found = eap_plugin.evaluate(model, BATCH, circuits, ablation=ablation, complement=True, resamples=0)
    effects = [float(found.clean.mean()) - point.mean for point in found.points]
    assert effects == pytest.approx([float(scores.edge(edge)) for edge in names], abs=1e-6)


@pytest.mark.parametrize("complement", [False, True])
def test_all_neurons_are_all_of_the_writer(complement: bool) -> None:
    """And dropping a writer's neurons is dropping its edges; half of them is neither."""
    model = wrapped("llama", "bridge")
    graph = eap_plugin.wrap_model(model).graph
    edges = random_edges(graph, 0.6)
    d_model = eap_plugin.wrap_model(model).layers[0].W_O.shape[-1]
    neurons = torch.ones(len(graph.sources), d_model, dtype=torch.bool)
    without, half = neurons.clone(), neurons.clone()
    without[3], half[3, ::2] = False, False
    fewer = edges.clone()
    fewer[3] = False
    circuits = [Circuit(graph, edges, part) for part in (neurons, without, half)]
    circuits += [Circuit(graph, part) for part in (edges, fewer)]
    found = eap_plugin.evaluate(model, BATCH, circuits, complement=complement, resamples=0)
    all_of, none_of, some_of, plain, plain_fewer = (point.mean for point in found.points)
    assert (all_of, none_of) == pytest.approx((plain, plain_fewer), abs=1e-6)
    assert abs(plain - plain_fewer) > 1e-3
    assert min(abs(some_of - plain), abs(some_of - plain_fewer)) > 1e-4
