"""Evaluations with shared prefixes are those of whole prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.circuits.hypothesis_tests.settings import HypothesisTestSettings
from eap_plugin.data.batch import Batch
from eap_plugin.data.prompts import Prompts
from eap_plugin.model.edge_matrix import edge_mask, ungrouped
from eap_plugin.model.residual_model import ResidualModel
from tests.oracle.precision import InFloat64
from tests.support.alike import alike, shared_prefix_lengths
from tests.support.bridges import bridge
from tests.support.zoo import build

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
DATA = {"plain": alike(padded=False), "padded": alike(padded=True)}
FAMILIES = ("gpt2", "llama", "gemma2", "gptj", "mixtral", "bloom", "gpt_neox")


@pytest.fixture
def prefixes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Share prefixes although prompts are short, and list the length of each microbatch's prefix."""
    return shared_prefix_lengths(monkeypatch)


def circuits(model: ResidualModel) -> list[Circuit]:
    """Return circuits of few and of many edges, of neurons, and with groups of keys and values split."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for graph, share in ((model.graph, 0.2), (model.graph, 0.8), (ungrouped(model.graph), 0.5)):
        mask = edge_mask(graph)
        found.append(Circuit(graph, mask & (torch.rand(mask.shape, generator=generator) < share)))
    neurons = torch.rand(len(model.graph.sources), model.layers[0].W_O.shape[-1], generator=generator) < 0.5
    return [*found, replace(found[1], neurons=neurons)]


def numbers(found: Evaluation) -> Tensor:
    return torch.stack([found.clean, found.corrupt, found.empty, *(point.metric for point in found.points)])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_kind_of_circuit(name: str, backend: str, prefixes: list[int]) -> None:
    """And its complement; of prompts padded on either side, too."""
    with InFloat64():
        model = eap_plugin.wrap_model(BACKENDS[backend](build(name, torch.float64)))
        for data, complement in (("plain", True), ("padded", False)):
            want, found = (
                numbers(
                    eap_plugin.evaluate(
                        model, DATA[data], circuits(model), complement=complement, share_prefix=share, resamples=0
                    )
                )
                for share in (False, True)
            )
            assert max(prefixes) > 0
            prefixes.clear()
            assert float((found - want).abs().max() / want.abs().max()) <= 1e-12


@pytest.fixture(scope="module")
def shipped() -> tuple[ResidualModel, Any, Any]:
    model = eap_plugin.load_model("ioi-gpt2", dtype="float64")
    task = eap_plugin.load_task("ioi", model, n_prompts=12)
    return model, task, eap_plugin.prune_scores(model, task)


def test_searches_and_hypothesis_tests(shipped: tuple[ResidualModel, Any, Any], prefixes: list[int]) -> None:
    model, task, scores = shipped
    settings = HypothesisTestSettings(random_circuits=5, quantile=0.5, max_edges=3, permutations=99)
    found: list[Circuit] = []
    tested: list[Evaluation] = []
    for share in (False, True):
        found.append(eap_plugin.find_circuit(model, task, scores, 0.9, share_prefix=share))
        tested.append(eap_plugin.evaluate(model, task, found[-1], tests=settings, metric="kl", share_prefix=share))
        assert bool(max(prefixes)) == share
    assert torch.equal(found[0].edges, found[1].edges)
    torch.testing.assert_close(numbers(tested[1]), numbers(tested[0]), rtol=0, atol=1e-10)
    assert [test.sentence for test in tested[1].tests] == [test.sentence for test in tested[0].tests]


def test_on_a_server(shipped: tuple[ResidualModel, Any, Any], prefixes: list[int]) -> None:
    """The simulated server runs the code that it is sent, which decides there how prompts are split."""
    _, task, scores = shipped
    here = eap_plugin.load_model("ioi-gpt2", backend="nnsight")
    want = eap_plugin.evaluate(here, task, scores, sizes=[20, 100], share_prefix=False)
    found = eap_plugin.evaluate(here, task, scores, sizes=[20, 100], remote="local")
    torch.testing.assert_close(numbers(found), numbers(want), rtol=0, atol=1e-4)


@pytest.mark.parametrize("ablation", ["zero", "mean"])
def test_whole_prompts_where_the_ablation_is_not_the_corrupt_run(
    ablation: Any, shipped: tuple[ResidualModel, Any, Any], prefixes: list[int]
) -> None:
    model, task, scores = shipped
    eap_plugin.evaluate(model, task, scores, sizes=[20], ablation=ablation)
    assert prefixes and not any(prefixes)


def test_a_function_of_the_users_sees_prompts_in_order(prefixes: list[int]) -> None:
    model = eap_plugin.wrap_model(bridge(build("gpt2", torch.float64)))
    weights = torch.arange(1.0, 7.0)

    def judge(logits: Tensor, batch: Batch) -> Tensor:
        return logits.gather(1, batch.answers)[:, 0] * weights

    want, found = (
        numbers(eap_plugin.evaluate(model, DATA["plain"], circuits(model)[0], metric=judge, share_prefix=share))
        for share in (False, True)
    )
    assert max(prefixes) > 0
    torch.testing.assert_close(found, want, rtol=0, atol=1e-10)


def test_a_wrong_prefix_is_not_used(
    shipped: tuple[ResidualModel, Any, Any], prefixes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, task, scores = shipped
    model = eap_plugin.load_model("ioi-gpt2", dtype="float64")
    want = eap_plugin.evaluate(model, task, scores, sizes=[20], share_prefix=False)
    right = model.prefix

    def changed(prompts: Prompts) -> Any:
        prefix = right(prompts)
        assert prefix is not None
        return replace(prefix, cache=tuple(x + 0.1 for x in prefix.cache))

    monkeypatch.setattr(model, "prefix", changed)
    found = eap_plugin.evaluate(model, task, scores, sizes=[20])
    assert not any(prefixes)
    assert torch.equal(numbers(found), numbers(want))
