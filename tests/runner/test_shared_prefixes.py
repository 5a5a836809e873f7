"""Scores with shared prefixes are those of whole prompts, and a prefix that is wrong is not used."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.algorithm.gradient.eap import EAP
from eap_plugin.data.batch import Batch
from eap_plugin.data.common_prefix import PassCost, split_by_prefix
from eap_plugin.data.microbatches import microbatches
from eap_plugin.data.prompts import Prefix, Prompts
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.self_check import scoring_check
from tests.backend.nnsight.test_objects import with_wrong_heads
from tests.oracle.precision import InFloat64
from tests.support.alike import N_POS, alike, shared_prefix_lengths
from tests.support.bridges import bridge
from tests.support.zoo import FAMILIES, build

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
DATA = {"plain": alike(padded=False), "padded": alike(padded=True)}
METRIC = eap_plugin.metrics()["logit_diff"]


@pytest.fixture
def prefixes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Share prefixes although prompts are short, and list the length of each microbatch's prefix."""
    return shared_prefix_lengths(monkeypatch)


def difference(found: Tensor, want: Tensor) -> float:
    """Compute the largest difference, relative to the largest score."""
    assert float(want.abs().max()) > 0
    return float((found - want).abs().max() / want.abs().max())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family(name: str, backend: str) -> None:
    """Of pairs padded on either side, in four microbatches with prefixes of different lengths."""
    whole = microbatches([DATA["padded"]], None)
    parts = split_by_prefix(whole, None, PassCost(3, 0))
    assert [part.n_prefix for part in parts] == [2, 3, 5, 6]
    with InFloat64():
        model = eap_plugin.wrap_model(BACKENDS[backend](build(name, torch.float64)))
        want, found = (
            model.run(EAP().attribute, data, METRIC, EAP.options(), lambda pieces=1.0: None) for data in (whole, parts)
        )
    assert difference(found.matrix, want.matrix) <= 1e-12
    assert found.clean_metric == pytest.approx(want.clean_metric, rel=1e-12)
    assert found.corrupt_metric == pytest.approx(want.corrupt_metric, rel=1e-12)


SHARING: list[tuple[str, dict[str, Any]]] = [
    ("eap", {}),
    ("eap", {"positions": True}),
    ("eap", {"level": "neuron", "positions": True, "batch_size": 2}),
    ("eap", {"groups": 2, "positions": True}),
    ("eap", {"metric": "logprob_diff", "qkv": "summed", "answer_diff": False}),
    ("eap-ig-inputs", {"steps": 2, "metric": "kl", "batch_size": 2}),
    ("eap-ig-inputs", {"steps": 2, "positions": True}),
    ("eap-ig-activations", {"steps": 2, "positions": True}),
    ("clean-corrupted", {"level": "node"}),
    ("mask-gradient", {"samples": 2, "positions": True}),
    ("gim", {"positions": True}),
    ("relp", {}),
    ("exact", {"level": "node", "edges_per_pass": 3}),
    ("exact", {"edges_per_pass": 50, "groups": 2}),
    ("edge-pruning", {"steps": 2, "batch_size": 3}),
]
WHOLE: list[tuple[str, dict[str, Any]]] = [
    ("eap", {"ablation": "zero"}),
    ("eap", {"ablation": "mean"}),
    ("eap", {"share_prefix": False}),
    ("eap-gp", {"steps": 1}),
    ("atp-star", {"grad_drop": False}),
    ("activation-magnitude", {}),
    ("information-flow-routes", {}),
]


@pytest.fixture(
    scope="module", params=[("gemma3", "TransformerBridge", "padded"), ("gpt2", "nnsight", "plain")], ids=str
)
def case(request: pytest.FixtureRequest) -> tuple[ResidualModel, Batch]:
    name, backend, data = request.param
    return eap_plugin.wrap_model(BACKENDS[backend](build(name, torch.float64))), DATA[data]


@pytest.mark.parametrize(("algorithm", "options"), SHARING, ids=str)
def test_every_algorithm(
    algorithm: str, options: dict[str, Any], case: tuple[ResidualModel, Batch], prefixes: list[int]
) -> None:
    model, data = case
    with InFloat64():
        want = eap_plugin.prune_scores(model, [data], algorithm=algorithm, share_prefix=False, **options)
        assert not any(prefixes)
        found = eap_plugin.prune_scores(model, [data], algorithm=algorithm, **options)
    assert max(prefixes) > 0
    assert difference(found.matrix, want.matrix) <= 1e-11
    if "positions" in options:
        assert found.matrix.shape[0] == N_POS
        assert not found.matrix[:2].any()
    assert set(model.prefix_faults.values()) == {""}


def test_acdc(prefixes: list[int]) -> None:
    data = DATA["plain"].select(torch.tensor([0, 2, 5]))  # pairs that differ at the same position first
    with InFloat64():
        model = bridge(build("gpt2", torch.float64))
        want, found = (
            eap_plugin.prune_scores(
                model, [data], algorithm="acdc", thresholds=1, highest=0.1, share_prefix=share
            ).matrix
            for share in (False, True)
        )
    assert prefixes == [0, 5]
    assert torch.equal(found, want)


@pytest.mark.parametrize(("algorithm", "options"), WHOLE, ids=str)
def test_whole_prompts_where_all_positions_count(algorithm: str, options: dict[str, Any], prefixes: list[int]) -> None:
    eap_plugin.prune_scores(bridge(build("gpt2")), [DATA["plain"]], algorithm=algorithm, **options)
    assert not any(prefixes)


def test_on_a_server(prefixes: list[int]) -> None:
    """In the same single request; the simulated server runs the code that it is sent."""
    here = eap_plugin.load_model("ioi-llama", backend="nnsight")
    there = eap_plugin.load_model("ioi-llama", backend="nnsight", remote="local")
    task = eap_plugin.load_task("ioi", here, n_prompts=24)
    want = eap_plugin.prune_scores(here, task, share_prefix=False)
    found = eap_plugin.prune_scores(there, task)
    eap_plugin.prune_scores(here, task)
    assert any(prefixes)
    assert found.metadata["remote"]["requests"] == 1
    assert difference(found.matrix, want.matrix) <= 1e-5


def test_a_metric_sees_whole_prompts(prefixes: list[int]) -> None:
    widths = set()

    def judge(logits: Tensor, batch: Batch) -> Tensor:
        widths.add(batch.clean.shape[1])
        return logits.gather(1, batch.clean[:, 1:2])[:, 0]  # the logit of the prompt's second token

    model, data = bridge(build("gpt2", torch.float64)), [DATA["plain"]]
    with InFloat64():
        want = eap_plugin.prune_scores(model, data, metric=judge, share_prefix=False)
        found = eap_plugin.prune_scores(model, data, metric=judge)
    assert max(prefixes) > 0
    assert widths == {N_POS}
    assert difference(found.matrix, want.matrix) <= 1e-12


def shifted(prefix: Prefix | None) -> Prefix:
    """Return a prefix whose keys and values are those of the position before."""
    assert prefix is not None
    return replace(prefix, cache=tuple(x.roll(1, -2) for x in prefix.cache))


def failing(prefix: Prefix | None) -> Prefix:
    raise TypeError("forward() got an unexpected keyword argument 'past_key_values'")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (shifted, r"give other logits \(residue 0\.\d+, allowed 1\.5e-08\)"),
        (failing, r"fail \(TypeError: .*'past_key_values'\)"),
        (lambda prefix: None, "cannot be kept"),
    ],
    ids=["wrong", "failing", "none"],
)
def test_a_wrong_prefix_is_not_used(
    change: Callable[[Prefix | None], Prefix | None], reason: str, prefixes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    with InFloat64():
        model = eap_plugin.wrap_model(bridge(build("llama", torch.float64)))
        want = eap_plugin.prune_scores(model, [DATA["padded"]], share_prefix=False).matrix
        right = model.prefix

        def prefix(prompts: Prompts) -> Prefix | None:
            return change(right(prompts))

        monkeypatch.setattr(model, "prefix", prefix)
        found = eap_plugin.prune_scores(model, [DATA["padded"]]).matrix
    assert torch.equal(found, want)
    assert not any(prefixes)
    assert any(re.search(reason, fault) for fault in model.prefix_faults.values())


def test_the_self_check_sees_wrong_heads_behind_a_prefix(prefixes: list[int]) -> None:
    with pytest.raises(eap_plugin.EapPluginError, match="layer 1, heads of v"):
        eap_plugin.prune_scores(with_wrong_heads(), [DATA["plain"]])
    assert max(prefixes) > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_self_check_needs_no_run_of_its_own(
    backend: str, prefixes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_check, "self_check", None)
    eap_plugin.prune_scores(BACKENDS[backend](build("llama")), [DATA["plain"]])
    assert max(prefixes) > 0


def test_short_prompts_are_run_whole() -> None:
    """Where a prefix saves less than its check costs, nothing is checked."""
    model = eap_plugin.wrap_model(bridge(build("gpt2")))
    eap_plugin.prune_scores(model, [DATA["plain"]])
    assert not model.prefix_faults
