"""The oracle is right: it agrees with finite differences, plain autograd, and what each part moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracle.brute_force import Reader, finite_difference, oracle_scores, readers, reading
from tests.oracle.layout import LAYOUTS, Layout
from tests.oracle.precision import InFloat64
from tests.oracle.writers import observe
from tests.support.zoo import ARCHITECTURES, D_MODEL, N_LAYERS, VARIANTS, build, prompts

pytestmark = pytest.mark.exhaustive

PROMPTS = prompts(3, 7, seed=1)
CLEAN, CORRUPT, ANSWERS, WRONG = PROMPTS
NORMALIZED_TOGETHER = ("olmo2", "olmo3", "olmoe", "flex_olmo", "minimax_m2")
"""Whose queries are normalized over all heads at once, as are their keys."""


@pytest.fixture(params=LAYOUTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> Iterator[Any]:
    """Build the model in float64 and make it compute in float64."""
    with InFloat64():
        yield build(name, torch.float64)


def largest(scores: dict[Any, float]) -> float:
    return max(abs(value) for value in scores.values())


def loss(model: Any) -> Tensor:
    logits = model(CLEAN, use_cache=False).logits[:, -1]
    return -(logits.gather(1, ANSWERS) - logits.gather(1, WRONG)).mean()


def some_edges(layout: Layout) -> list[tuple[str, str]]:
    """List an edge of every kind."""
    last_kv = len(layout.heads["k"]) - 1
    edges = [
        ("input", "a0.h1<q>"),
        ("input", f"a0.h{last_kv}<k>"),
        ("a0.h2", "a1.h3<q>"),
        ("m0", f"a1.h{last_kv}<k>"),
        ("a0.h0", f"a1.h{last_kv}<v>"),
        ("m0", "m1"),
        ("a0.h3", "logits"),
        ("m1", "logits"),
    ]
    return edges if layout.parallel else [*edges, ("a1.h3", "m1")]


def test_scores_are_slopes(name: str, model: Any) -> None:
    scores = oracle_scores(model, name, *PROMPTS)
    for edge in some_edges(LAYOUTS[name]):
        slope = finite_difference(model, name, edge, *PROMPTS)
        assert scores[edge] == pytest.approx(slope, abs=1e-7 * largest(scores)), edge


@pytest.mark.parametrize("name", [*ARCHITECTURES, *VARIANTS])
def test_float32_scores_are_near_the_exact_ones(name: str) -> None:
    rounded = oracle_scores(build(name), name, *PROMPTS)
    with InFloat64():
        exact = oracle_scores(build(name, torch.float64), name, *PROMPTS)
    assert rounded == pytest.approx(exact, rel=0, abs=1e-5 * largest(exact))


def test_readers_gradients_add_up_to_the_plain_gradient(name: str, model: Any) -> None:
    """What enters a layer is read by its readers, by the later ones, and by nobody else, once each."""
    layout = LAYOUTS[name]
    run = observe(model, layout, CLEAN)
    gradients = {}
    for reader in readers(layout, N_LAYERS):
        leaf = run.read[reader.stream].clone().requires_grad_()
        with reading(model, layout, reader, leaf):
            (gradients[reader],) = torch.autograd.grad(loss(model), leaf)

    entering: list[Tensor] = []
    for block in model.get_submodule(layout.layers):
        block.register_forward_pre_hook(lambda module, args: entering.append(args[0]))
    for layer, plain in enumerate(torch.autograd.grad(loss(model), entering)):
        onward = [g for reader, g in gradients.items() if reader.layer >= layer or reader.kind == "logits"]
        torch.testing.assert_close(torch.stack(onward).sum(dim=0), plain, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_a_slot_moves_what_its_head_should(name: str, model: Any, kind: str) -> None:
    """A query acts at its own position, a key or value later too; at position 0 only values act."""
    layout = LAYOUTS[name]
    slots = layout.heads[kind]
    for head in range(len(slots)):
        reader = Reader("", kind, layer=1, head=head)
        first, middle = (moved_z(model, layout, reader, position) for position in (0, 3))
        assert first[0].any() == (kind == "v" or name == "gpt_oss")  # whose sinks take attention from position 0
        assert first[1:].any() == (kind != "q")
        assert not middle[:3].any()
        assert middle[3].any()
        assert middle[4:].any() == (kind != "q")
        if not (name in NORMALIZED_TOGETHER and kind in "qk"):
            n_heads = len(layout.heads["q"])
            own = [h * len(slots) // n_heads == head for h in range(n_heads)]
            assert middle.any(dim=0).tolist() == own


def moved_z(model: Any, layout: Layout, reader: Reader, position: int) -> Tensor:
    """Return the positions where z changes, [pos, heads], if the reader's input is changed at one position."""
    stream = observe(model, layout, CLEAN).read[f"a{reader.layer}"]
    pushed = stream.clone()
    pushed[:, position] += torch.randn(D_MODEL, generator=torch.Generator().manual_seed(0))
    seen: list[Tensor] = []
    project = layout.part(model, reader.layer, layout.o)
    handle = project.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        for residual in (stream, pushed):
            with reading(model, layout, reader, residual):
                model(CLEAN, use_cache=False)
    handle.remove()
    change = (seen[1] - seen[0]).unflatten(-1, (len(layout.heads["q"]), -1))
    return change.abs().amax(dim=(0, 3)) > 1e-9


def test_a_post_norm_keeps_its_statistics() -> None:
    """A head's part of what Gemma 2 adds is divided by the size of all heads' sum, not by its own."""
    model, layout, seen = build("gemma2", torch.float64), LAYOUTS["gemma2"], []
    attention = model.model.layers[1].self_attn
    attention.o_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with InFloat64(), torch.no_grad():
        run = observe(model, layout, CLEAN)
        z, weight = seen[0], attention.o_proj.weight
        size = ((z @ weight.T).pow(2).mean(dim=-1, keepdim=True) + model.config.rms_norm_eps).sqrt()
        gain = 1 + model.model.layers[1].post_attention_layernorm.weight
    d_head = model.config.head_dim
    expected = z[..., d_head : 2 * d_head] @ weight[:, d_head : 2 * d_head].T / size * gain
    torch.testing.assert_close(run.written["a1.h1"], expected)


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("gpt2", {"parallel": True}),
        ("gpt_neox", {"parallel": False}),
        ("gemma2", {"mlp_post_norm": ""}),
        ("olmo2", {"attn_post_norm": ""}),
        ("bloom", {"mlp_out": "mlp"}),
        ("mpt", {"mlp_out": "ffn"}),
        ("granite", {"residual_multiplier": 1.0}),
    ],
)
def test_a_wrong_layout_is_noticed(name: str, mistake: dict[str, Any]) -> None:
    with pytest.raises(AssertionError, match="do not add up"):
        observe(build(name), replace(LAYOUTS[name], **mistake), CLEAN)


def test_edges_run_from_earlier_writers_to_later_readers() -> None:
    sequential, parallel = (set(oracle_scores(build(n), n, *PROMPTS)) for n in ("llama", "phi"))
    # input | layer 0: 4 q, 2 k, 2 v, m0 | layer 1 likewise, now with 6 writers before it | logits
    assert len(sequential) == 8 * 1 + 5 + 8 * 6 + 10 + 11
    # each layer's four heads no longer feed its MLP; all 4 k and 4 v
    assert len(parallel) == 12 * 1 + 1 + 12 * 6 + 6 + 11
    assert ("a1.h0", "m1") in sequential - parallel
    assert ("a0.h0", "m1") in sequential & parallel
    assert not any(writer[:2] == reader[:2] == "m1" for writer, reader in sequential)


def test_scores_by_position_add_up_and_start_at_the_first_difference() -> None:
    model = build("llama", torch.float64)
    corrupt = torch.where(torch.arange(7) < 4, CLEAN, CORRUPT)
    case = (model, "llama", CLEAN, corrupt, ANSWERS, WRONG)
    scores, by_position = oracle_scores(*case), oracle_scores(*case, positions=True)
    assert {edge: value.sum().item() for edge, value in by_position.items()} == scores
    stacked = torch.stack(list(by_position.values()))
    assert stacked[:, :4].abs().max() < 1e-12 < stacked[:, 4:].abs().min(dim=0).values.max()


def test_another_metric_is_used() -> None:
    model = build("opt")
    right, wrong = (
        oracle_scores(model, "opt", *PROMPTS, metric=lambda logits, ids=ids: logits.gather(1, ids)[:, 0])
        for ids in (ANSWERS, WRONG)
    )
    difference = oracle_scores(model, "opt", *PROMPTS)
    expected = {edge: right[edge] - wrong[edge] for edge in difference}
    assert difference == pytest.approx(expected, rel=0, abs=1e-5 * largest(difference))
