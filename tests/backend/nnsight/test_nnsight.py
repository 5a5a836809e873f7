"""The nnsight backend gives the numbers of plain autograd and of the TransformerLens backend, edge by edge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.interventions.test_edge_patching import patched_metric
from tests.oracle.brute_force import oracle_scores
from tests.support.bridges import bridge
from tests.support.verdicts import ALLOWED, PROMPTS, expected, score_error, worst
from tests.support.zoo import ARCHITECTURES, FAMILIES, build, prompts

pytestmark = pytest.mark.exhaustive

MASKS = {
    "left": [[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]],
    "right": [[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 0, 0]],
}


def both(build_model: Callable[[], Any]) -> tuple[Any, Any]:
    """Make two copies of a model, one for nnsight and one for TransformerLens."""
    return nnsight.NNsight(build_model()), bridge(build_model())


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert theirs.abs().max() > 0
    return float((ours - theirs).abs().max() / theirs.abs().max())


@pytest.mark.parametrize("name", FAMILIES)
def test_float32(name: str, record_property: pytest.RecordProperty) -> None:
    batch = Batch(*PROMPTS[torch.float32])
    ours, theirs = (eap_plugin.prune_scores(model, [batch]) for model in both(lambda: build(name)))
    error = worst(ours, expected(name, torch.float32))
    record_property("error nnsight float32", f"{error:.1e}")
    record_property("differs nnsight", f"{difference(ours.matrix, theirs.matrix):.1e}")
    assert error <= ALLOWED[torch.float32]
    assert ours.graph == theirs.graph
    assert difference(ours.matrix, theirs.matrix) <= 3e-6


@pytest.mark.parametrize("name", FAMILIES)
def test_float64(name: str, record_property: pytest.RecordProperty) -> None:
    error = score_error(name, "nnsight", torch.float64)
    record_property("error nnsight float64", f"{error:.1e}")
    assert error <= ALLOWED[torch.float64]


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "olmo2", "falcon"])
def test_positions(name: str) -> None:
    tokens = prompts(4, 7)
    scores = eap_plugin.prune_scores(nnsight.NNsight(build(name)), [Batch(*tokens)], positions=True)
    assert worst(scores, oracle_scores(build(name), name, *tokens, positions=True)) <= 1e-5


@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_padded_prompts(name: str, side: str) -> None:
    batch = Batch(*prompts(3, 6), attention_mask=torch.tensor(MASKS[side]).bool())
    ours, theirs = (eap_plugin.prune_scores(model, [batch]) for model in both(lambda: build(name)))
    assert difference(ours.matrix, theirs.matrix) <= 5e-6


@pytest.mark.parametrize("name", sorted({*FAMILIES} - {"llama4"}))
def test_padding_on_the_left_does_not_change_a_prompt(name: str) -> None:
    """Not of Llama 4, which scales queries by where they are in the padded batch."""
    clean, corrupt, *answers = prompts(1, 5)
    wrapped = eap_plugin.wrap_model(nnsight.NNsight(build(name)))
    pad = torch.full((1, 3), 2)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]]).bool()
    padded = Batch(torch.cat([pad, clean], 1), torch.cat([pad, corrupt], 1), *answers, attention_mask=mask)
    ours, plain = (eap_plugin.prune_scores(wrapped, [batch]) for batch in (padded, Batch(clean, corrupt, *answers)))
    assert difference(ours.matrix, plain.matrix) <= 1e-5


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_self_check_passes(name: str, dtype: torch.dtype) -> None:
    report = eap_plugin.check(nnsight.NNsight(build(name, dtype)))
    assert report.ok, report.worst


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_patched_runs(name: str) -> None:
    """No edge patched is the clean run, every edge the corrupt one, and some edges what TransformerLens gives."""
    clean, corrupt, *answers = prompts(3, 6)
    batch, swapped = Batch(clean, corrupt, *answers), Batch(corrupt, clean, *answers)
    ours, theirs = (eap_plugin.wrap_model(model) for model in both(lambda: build(name)))
    everything = torch.ones(len(ours.graph.sources), len(ours.graph.readers))
    on_clean, on_corrupt = (patched_metric(ours, batch, everything * patch) for patch in (0, 1))
    assert abs(on_clean - on_corrupt) > 0.01
    assert on_corrupt == pytest.approx(patched_metric(ours, swapped, everything * 0), abs=1e-5)
    some = (torch.rand(everything.shape, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    assert patched_metric(ours, batch, some) == pytest.approx(patched_metric(theirs, batch, some), abs=2e-5)


def test_what_a_visitor_keeps_is_not_changed_afterwards() -> None:
    """Falcon's block adds attention's result to the MLP's in place."""
    model = eap_plugin.wrap_model(nnsight.NNsight(build("falcon")))
    kept: dict[int, torch.Tensor] = {}

    def keep(layer: int, value: torch.Tensor) -> None:
        kept[layer] = value
        before[layer] = value.clone()

    before: dict[int, torch.Tensor] = {}
    model.forward(prompts(2, 5)[0], {"mlp_out": keep})
    assert all(torch.equal(kept[layer], before[layer]) for layer in (0, 1))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_replaced_value_is_what_the_model_goes_on_with(name: str) -> None:
    """Each site's value from one run, put into another, is found there again and moves the logits as it should.

    Not where the residual stream is read: that is to be watched, and what is read to be replaced after the norm.
    """
    clean, corrupt = prompts(2, 5)[:2]
    model, other = (eap_plugin.wrap_model(x) for x in both(lambda: build(name)))
    assert model.sites == other.sites
    for site in sorted(model.sites - {"attn_in", "mlp_in"}):
        logits = []
        for wrapped in (model, other):
            values: dict[int, torch.Tensor] = {}
            with torch.no_grad():
                wrapped.forward(corrupt, {site: values.__setitem__})
                logits.append(wrapped.forward(clean, {site: lambda layer, _, values=values: values[layer]}))
                plain = wrapped.forward(clean, {})
        torch.testing.assert_close(*logits, rtol=0, atol=2e-5, msg=site)
        assert not torch.allclose(logits[0], plain), site


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_gradients_arrive_at_every_site(name: str) -> None:
    """The same gradient on both backends at each site of each layer, and none is zero.

    Not where the residual stream is read: what else reads that tensor is no matter of the site.
    """
    tokens = prompts(2, 5)[0]
    found = []
    for model in both(lambda: build(name)):
        wrapped = eap_plugin.wrap_model(model)
        seen: dict[tuple[str, int], torch.Tensor] = {}

        def keep(site: str, seen: dict[tuple[str, int], torch.Tensor] = seen) -> Callable[..., None]:
            return lambda layer, value: seen.__setitem__((site, layer), value)

        def program(wrapped: Any, seen: Any = seen, keep: Any = keep) -> dict[Any, torch.Tensor]:
            visit = {site: keep(site) for site in wrapped.sites - {"embed", "attn_in", "mlp_in"}}
            start = {"embed": lambda layer, value: value.detach().requires_grad_()}
            logits = wrapped.forward(tokens, {**start, **visit})
            return dict(zip(seen, torch.autograd.grad(logits.pow(2).sum(), list(seen.values())), strict=True))

        found.append(wrapped.run(program))
    ours, theirs = found
    assert set(ours) == set(theirs)
    for key, gradient in ours.items():
        assert difference(gradient, theirs[key]) <= 5e-6, key
