"""AtP*: recomputed attention and gradient drop, against brute force, real patches and models done by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import pytest
import torch
from torch import nn

import eap_plugin
from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.atp_star import AtPStar, AtPStarOptions
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.metric.metric import METRICS
from eap_plugin.testing.watched import Watched
from tests.algorithm.gradient.test_eap_oracle import MODELS, worst
from tests.interventions.test_edge_patching import patched_metric
from tests.oracle.brute_force import oracle_scores
from tests.oracle.precision import InFloat64
from tests.oracle.recomputed import atp_star, attention_effects
from tests.support.bridges import bridge
from tests.support.zoo import FIRST_WORD, VOCAB, build, prompts

pytestmark = pytest.mark.exhaustive

BILINEAR = [name for name in MODELS if name not in ("gemma2", "gemma3", "qwen3", "olmo2")]
"""Not those with soft caps, or norms of queries and keys: there the scores are not linear in them."""


def run(model: Any, batch: Batch, **options: Any) -> Any:
    return eap_plugin.prune_scores(model, [batch], algorithm="atp-star", **options)


@pytest.mark.parametrize("name", BILINEAR)
def test_recomputed_attention_against_real_patterns(name: str, record_property: Callable[[str, str], None]) -> None:
    tokens = prompts(3, 6, seed=1)
    with InFloat64():
        model = build(name, torch.float64)
        scores = run(bridge(build(name, torch.float64)), Batch(*tokens), grad_drop=False)
        error = worst(scores, oracle_scores(model, name, *tokens) | attention_effects(model, name, tokens))
    record_property("largest relative error", f"{error:.1e}")
    assert error <= 1e-11


@pytest.mark.parametrize("name", ["gpt2", "llama", "falcon"])
def test_positions_are_those_of_the_reader_alone(name: str) -> None:
    tokens = prompts(2, 5, seed=1)
    with InFloat64():
        model = build(name, torch.float64)
        scores = run(bridge(build(name, torch.float64)), Batch(*tokens), grad_drop=False, positions=True)
        want = oracle_scores(model, name, *tokens, positions=True)
        alone = [attention_effects(model, name, tokens, position=position) for position in range(5)]
    want |= {edge: torch.tensor([effects[edge] for effects in alone], dtype=torch.float64) for edge in alone[0]}
    assert worst(scores, want) <= 1e-11


@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj"])
def test_gradient_drop_against_brute_force(name: str) -> None:
    tokens = prompts(2, 5, seed=1)
    with InFloat64():
        scores = run(bridge(build(name, torch.float64)), Batch(*tokens))
        error = worst(scores, atp_star(build(name, torch.float64), name, tokens))
    assert error <= 1e-11
    assert bool((scores.matrix >= 0).all())


def one_layer(name: str, sharper: float = 1.0) -> Any:
    """Make a block with a negligible MLP and no final norm, so that it is linear in its attention pattern."""
    model = build(name, torch.float64)
    if name == "gpt2":
        model.transformer.h = model.transformer.h[:1]
        model.config.n_layer = 1
        model.transformer.ln_f = nn.Identity()
        block = model.transformer.h[0]
        block.mlp.c_proj.weight.data.zero_()
        block.attn.c_attn.weight.data[:, : model.config.n_embd] *= sharper
        block.attn.c_attn.bias.data[: model.config.n_embd] *= sharper
    else:
        model.model.layers = model.model.layers[:1]
        model.config.num_hidden_layers = 1
        model.model.norm = nn.Identity()
        model.model.layers[0].mlp.down_proj.weight.data.zero_()
        model.model.layers[0].self_attn.q_proj.weight.data *= sharper
    return model


@pytest.mark.parametrize("sharper", [1.0, 40.0])
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_where_all_goes_through_the_pattern_it_is_the_real_effect(name: str, sharper: float) -> None:
    """Of a saturated softmax, too, where EAP sees next to nothing."""
    batch = Batch(*prompts(4, 6))
    with InFloat64():
        model = eap_plugin.wrap_model(nnsight.NNsight(one_layer(name, sharper)))
        scores, eap = run(model, batch, grad_drop=False), eap_plugin.prune_scores(model, [batch])
        edges = [edge for edge in scores.graph.columns if edge.endswith(("<q>", "<k>"))]
        nothing = torch.zeros(scores.matrix.shape, dtype=torch.float64)
        clean = patched_metric(model, batch, nothing)
        real = {}
        for reader in edges:
            patch = nothing.clone()
            patch[scores.graph.edge(f"input->{reader}")] = 1
            real[reader] = clean - patched_metric(model, batch, patch)
    size = max(abs(effect) for effect in real.values())
    assert size > 0.1
    for reader, effect in real.items():
        assert scores.edge(f"input->{reader}") == pytest.approx(effect, abs=1e-11 * size), reader
    missed = sum(abs(float(eap.edge(f"input->{r}")) - effect) for r, effect in real.items())
    assert missed > (0.9 if sharper > 1 else 0.1) * sum(abs(effect) for effect in real.values())


@pytest.mark.parametrize("name", MODELS)
def test_of_small_changes_it_is_eap(name: str) -> None:
    """The second half of the vocabulary embeds almost as the first."""
    generator = torch.Generator().manual_seed(0)
    half = VOCAB // 2
    clean = torch.randint(FIRST_WORD, half, (3, 6), generator=generator)
    corrupt = torch.where(torch.rand(3, 6, generator=generator) < 0.5, clean + half, clean)
    batch = Batch(clean, corrupt, *prompts(3, 6)[2:])
    with InFloat64():
        model = build(name, torch.float64)
        embedding = model.get_input_embeddings().weight.data
        noise = torch.randn(embedding[half:].shape, generator=generator, dtype=embedding.dtype)
        embedding[half:] = embedding[:half] + 1e-6 * noise
        wrapped = bridge(model)
        ours, eap = run(wrapped, batch, grad_drop=False), eap_plugin.prune_scores(wrapped, [batch])
    assert (ours.matrix - eap.matrix).abs().max() <= 1e-4 * eap.matrix.abs().max()
    attention = [c for c, reader in enumerate(eap.graph.readers) if reader.slot in ("q", "k")]
    assert eap.matrix[:, attention].abs().max() > 1e-3 * eap.matrix.abs().max()


def test_cancelled_effects_are_seen_by_gradient_drop() -> None:
    """Layer 0 adds nothing, layer 1's MLP takes off what it reads: the input matters in two ways that cancel.

    EAP finds that it does not. With layer 0 dropped it does not either; with layer 1 dropped, its direct effect is
    left. The mean is half of that: by hand, half of what the change of the last embedding does to the logits.
    """
    model = build("gpt2", torch.float64)
    model.transformer.ln_f = nn.Identity()
    for block in model.transformer.h:
        block.ln_1, block.ln_2, block.mlp.act = nn.Identity(), nn.Identity(), nn.Identity()
        block.attn.c_proj.weight.data.zero_()
        block.mlp.c_proj.weight.data.zero_()
    width = model.config.n_embd
    model.transformer.h[1].mlp.c_fc.weight.data[:, :width] = torch.eye(width, dtype=torch.float64)
    model.transformer.h[1].mlp.c_proj.weight.data[:width] = -torch.eye(width, dtype=torch.float64)
    clean, corrupt, right, wrong = prompts(4, 6)
    corrupt[:, -1] = FIRST_WORD + (clean[:, -1] - FIRST_WORD + 1) % (VOCAB - FIRST_WORD)
    batch = Batch(clean, corrupt, right, wrong)
    wrapped = nnsight.NNsight(model)
    assert eap_plugin.prune_scores(wrapped, [batch], level="node")["input"].abs() < 1e-12
    embed, unembed = model.transformer.wte.weight.detach(), model.lm_head.weight.detach()
    change = embed[corrupt[:, -1]] - embed[clean[:, -1]]
    by_hand = (change * (unembed[right[:, 0]] - unembed[wrong[:, 0]])).sum(-1).abs().mean() / 2
    assert by_hand > 0.01
    assert float(run(wrapped, batch, level="node")["input"]) == pytest.approx(float(by_hand), rel=1e-12)


@pytest.mark.parametrize("options", [{}, {"grad_drop": False}, {"level": "node"}, {"positions": True}], ids=str)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "olmo2", "falcon", "mixtral"])
def test_on_nnsight(name: str, options: dict[str, Any]) -> None:
    """Of several pieces of padded prompts, as on TransformerLens; and pieces add up."""
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]).bool()
    batch = Batch(*prompts(3, 6), attention_mask=mask)
    theirs = run(bridge(build(name)), batch, **options).matrix
    for ours in (
        run(nnsight.NNsight(build(name)), batch, batch_size=2, **options).matrix,
        run(bridge(build(name)), batch, batch_size=1, **options).matrix,
    ):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@pytest.mark.parametrize("ablation", ["zero", "mean", "mean-per-position"])
def test_other_ablations(ablation: str) -> None:
    """Without gradient drop, edges that are neither into q nor into k are those of EAP."""
    model, batch = bridge(build("llama")), Batch(*prompts(3, 6))
    ours, eap = (
        run(model, batch, ablation=ablation, grad_drop=False),
        eap_plugin.prune_scores(model, [batch], ablation=ablation),
    )
    same = [c for c, reader in enumerate(eap.graph.readers) if reader.slot not in ("q", "k")]
    torch.testing.assert_close(ours.matrix[:, same], eap.matrix[:, same], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ours.matrix, eap.matrix, atol=1e-3)


@pytest.mark.parametrize("options", [{}, {"grad_drop": False}, {"ablation": "zero"}], ids=str)
@pytest.mark.parametrize("name", ["gpt2", "one layer"])
def test_declared_cost(name: str, options: dict[str, Any]) -> None:
    plain = one_layer("gpt2").float() if name == "one layer" else build(name)
    model = eap_plugin.wrap_model(nnsight.NNsight(plain))
    chosen = AtPStarOptions(**options)
    watched = Watched(model)
    watched.run(AtPStar().attribute, [Microbatch(Batch(*prompts(3, 6)), 1.0)], METRICS[0], chosen, lambda: None)
    assert AtPStar().cost(chosen, model.graph) == Cost(watched.forwards, watched.backwards)
    assert watched.backwards == (model.graph.n_layers if chosen.grad_drop else 1)


def test_neurons_are_refused() -> None:
    with pytest.raises(eap_plugin.UsageError, match="option 'level' must be one of edge, node, got 'neuron'"):
        run(bridge(build("gpt2")), Batch(*prompts(2, 5)), level="neuron")
