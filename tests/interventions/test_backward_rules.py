"""GIM, RelP and the backward rules that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import nnsight
import pytest
import torch
from torch import nn

import eap_plugin
from eap_plugin.algorithm.base import Cost
from eap_plugin.algorithm.gradient.gim import GIM, GIMOptions
from eap_plugin.algorithm.gradient.relp import RelP, RelPOptions
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.interventions.backward_rules import (
    IdentityActivations,
    constant_pattern,
    halved_products,
    softened_softmax,
    straight_through,
)
from eap_plugin.metric.metric import METRICS
from eap_plugin.testing.watched import Watched
from tests.algorithm.gradient.test_eap_oracle import MODELS, worst
from tests.oracle import changed_backward
from tests.oracle.brute_force import oracle_scores
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

SEEN = [name for name in MODELS if name != "mixtral"]
"""Not the mixture of experts, whose hidden layers are out of sight."""

METHODS: dict[str, tuple[dict[str, Any], Callable[[Any, str], AbstractContextManager[None]]]] = {
    "gim": ({"algorithm": "gim"}, changed_backward.gim),
    "relp": ({"algorithm": "relp"}, partial(changed_backward.relp, constant_attention=False)),
    "relp, constant attention": (
        {"algorithm": "relp", "attention": "constant"},
        partial(changed_backward.relp, constant_attention=True),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SEEN)
def test_against_autograd_functions_on_the_plain_model(
    name: str, method: str, record_property: Callable[[str, str], None]
) -> None:
    options, changed = METHODS[method]
    tokens = prompts(3, 6, seed=1)
    with InFloat64():
        model = build(name, torch.float64)
        scores = eap_plugin.prune_scores(bridge(build(name, torch.float64)), [Batch(*tokens)], **options)
        with changed(model, name):
            error = worst(scores, oracle_scores(model, name, *tokens))
    record_property("largest relative error", f"{error:.1e}")
    assert error <= 1e-12


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gptj", "falcon", "opt"])
def test_on_nnsight(name: str, method: str) -> None:
    """Of several pieces of padded prompts, as on TransformerLens."""
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1]]).bool()
    batch = Batch(*prompts(3, 6), attention_mask=mask)
    ours, theirs = (
        eap_plugin.prune_scores(model, [batch], batch_size=2, **METHODS[method][0]).matrix
        for model in (nnsight.NNsight(build(name)), bridge(build(name)))
    )
    assert (ours - theirs).abs().max() <= 5e-6 * theirs.abs().max()


def test_gim_without_its_rules_is_eap() -> None:
    model, batch = bridge(build("gemma2")), Batch(*prompts(3, 6))
    plain = {"temperature": 1, "freeze_norms": False, "halve_products": False}
    assert eap_plugin.prune_scores(model, [batch], algorithm="gim", **plain) == eap_plugin.prune_scores(model, [batch])
    for rule, value in {"temperature": 2, "freeze_norms": True, "halve_products": True}.items():
        alone = eap_plugin.prune_scores(model, [batch], algorithm="gim", **{**plain, rule: value})
        assert alone != eap_plugin.prune_scores(model, [batch]), rule


def linear_gpt2() -> Any:
    """GPT-2 without norms and with MLPs that have no activation; its attention patterns look at nothing."""
    model = build("gpt2", torch.float64)
    model.transformer.ln_f = nn.Identity()
    for block in model.transformer.h:
        block.ln_1, block.ln_2 = nn.Identity(), nn.Identity()
        block.mlp.act = nn.Identity()
        block.attn.c_attn.weight.data[:, : 2 * model.config.n_embd] = 0
        block.attn.c_attn.bias.data[: 2 * model.config.n_embd] = 0
    return model


@pytest.mark.parametrize("attention", ["gradient", "constant"])
def test_relp_of_a_linear_model_is_eap(attention: str) -> None:
    model, batch = nnsight.NNsight(linear_gpt2()), Batch(*prompts(3, 6))
    eap = eap_plugin.prune_scores(model, [batch]).matrix
    relp = eap_plugin.prune_scores(model, [batch], algorithm="relp", attention=attention).matrix
    assert eap.abs().max() > 0.1
    torch.testing.assert_close(relp, eap, rtol=1e-12, atol=1e-12)


def without_biases(name: str) -> Any:
    model = build(name, torch.float64)
    for key, parameter in model.named_parameters():
        if key.endswith("bias"):
            parameter.data.zero_()
    return model


@pytest.mark.parametrize("name", ["llama", "gemma3", "olmo2", "gpt2", "bloom", "gpt_neox", "falcon", "phi"])
def test_relevance_is_conserved(name: str) -> None:
    """Without biases, and with constant attention, what flows out of the input is the whole of the metric.

    So it is through every cut of the network, here those before each layer's attention. What a writer changes is minus
    what it adds when it is set to zero, and scores are gradients of minus the metric: relevance, in the papers' sign.
    """
    batch = Batch(*prompts(3, 6))
    with InFloat64():
        scores = eap_plugin.prune_scores(
            bridge(without_biases(name)), [batch], algorithm="relp", attention="constant", ablation="zero"
        )
    graph, metric = scores.graph, scores.metadata["clean_metric"]
    assert abs(metric) > 0.1
    for layer in range(graph.n_layers):
        later = [c for c, r in enumerate(graph.readers) if r.layer >= layer or r.slot == "logits"]
        relevance = scores.matrix[: graph.head_row(layer), later].sum()
        assert float(relevance) == pytest.approx(metric, rel=1e-9)
    assert float(scores.matrix[:, -1].sum()) == pytest.approx(metric, rel=1e-9)


@pytest.mark.parametrize("algorithm", ["gim", "relp"])
def test_levels_positions_and_ablations(algorithm: str) -> None:
    model, batch = bridge(build("gemma2")), Batch(*prompts(3, 6))

    def run(**options: Any) -> Any:
        return eap_plugin.prune_scores(model, [batch], algorithm=algorithm, **options).matrix

    for ablation in ("corrupt", "zero", "mean", "mean-per-position"):
        edges, nodes, neurons = (run(level=level, ablation=ablation) for level in ("edge", "node", "neuron"))
        size = edges.abs().max()
        assert size > 0.1
        torch.testing.assert_close(nodes, edges.sum(-1), rtol=0, atol=float(1e-5 * size))
        torch.testing.assert_close(neurons.sum(-1), nodes, rtol=0, atol=float(1e-5 * size))
        by_position = run(positions=True, ablation=ablation)
        torch.testing.assert_close(by_position.sum(0), edges, rtol=0, atol=float(1e-5 * size))


@pytest.mark.parametrize("ablation", ["corrupt", "zero"])
@pytest.mark.parametrize(("algorithm", "options"), [(GIM(), GIMOptions), (RelP(), RelPOptions)])
def test_declared_cost(algorithm: Any, options: Any, ablation: str) -> None:
    model, chosen = eap_plugin.wrap_model(bridge(build("llama"))), options(ablation=ablation)
    watched = Watched(model)
    watched.run(algorithm.attribute, [Microbatch(Batch(*prompts(3, 6)), 1.0)], METRICS[0], chosen, lambda: None)
    assert algorithm.cost(chosen, model.graph) == Cost(watched.forwards, watched.backwards)
    assert watched.forwards == (2 if ablation == "corrupt" else 1)


def test_a_mixture_of_experts() -> None:
    """Its hidden layers are out of sight: what needs them says so, the rest goes on, the same on both backends."""
    batch = [Batch(*prompts(3, 6))]
    for algorithm in ("gim", "relp"):
        with pytest.raises(eap_plugin.EapPluginError, match="has no mlp_post.* that can be hooked"):
            eap_plugin.prune_scores(bridge(build("mixtral")), batch, algorithm=algorithm)
    ours, theirs = (
        eap_plugin.prune_scores(model, batch, algorithm="gim", halve_products=False).matrix
        for model in (nnsight.NNsight(build("mixtral")), bridge(build("mixtral")))
    )
    assert (ours - theirs).abs().max() <= 5e-6 * theirs.abs().max()


def back(visit: Any, values: dict[str, torch.Tensor], g: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Pass values through their visitors, and return the last one and its gradient with respect to the first."""
    first, *_ = values.values()
    for site, value in values.items():
        new = visit[site](0, value) if site in visit else value
        last = value if new is None else new
    return last, torch.autograd.grad(last, first, g)[0]


def test_a_softened_softmax_by_hand() -> None:
    """At scores 0 and ln 9, p is 0.1 and 0.9; at temperature 2 it is 0.25 and 0.75, so the Jacobian is ±0.1875."""
    scores = torch.tensor([0.0, 9.0]).log().clamp_min(0).requires_grad_()
    values = {"scores": scores, "pattern": scores.softmax(-1)}
    pattern, gradient = back(softened_softmax(2.0), values, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(pattern, torch.tensor([0.1, 0.9]))
    torch.testing.assert_close(gradient, torch.tensor([0.1875, -0.1875]))
    assert back(constant_pattern(), values, torch.ones(2))[1].tolist() == [0, 0]


def test_a_halved_product_by_hand() -> None:
    """3 · 4: the gradients 4 and 3 become 2 and 1.5, so that factor · gradient adds up to the product."""
    a, b = torch.tensor([3.0]).requires_grad_(), torch.tensor([4.0]).requires_grad_()
    visit = halved_products(eap_plugin.wrap_model(bridge(build("llama"))))
    product = visit["mlp_post"](0, a * b)
    gradients = torch.autograd.grad(product, [a, b])
    assert (product.item(), *(g.item() for g in gradients)) == (12, 2, 1.5)
    masked = torch.tensor([torch.finfo(torch.float32).min, -torch.inf, 1.0]).requires_grad_()
    assert torch.equal(visit["scores"](0, masked), masked)
    assert "mlp_post" not in halved_products(eap_plugin.wrap_model(bridge(build("gpt2"))))


def test_an_identity_activation_by_hand() -> None:
    """a(x) = x²: 2 gives 4, twice itself, so the gradient is 2 where it was 4; at 0 it is 0."""
    x = torch.tensor([2.0, 0.0]).requires_grad_()
    visit = IdentityActivations(eap_plugin.wrap_model(bridge(build("gpt2")))).visitors()
    value, gradient = back(visit, {"mlp_pre": x, "mlp_post": x**2}, torch.ones(2))
    assert (value.tolist(), gradient.tolist()) == ([4, 0], [2, 0])


def test_a_gate_by_hand() -> None:
    """gate² · linear at 2 and 5 is 20: half of it is the gate's, 10 = 2 · 5, and half the linear's, 10 = 5 · 2."""
    gate, linear = torch.tensor([2.0, 0.0]).requires_grad_(), torch.tensor([5.0, 5.0]).requires_grad_()
    visit = IdentityActivations(eap_plugin.wrap_model(bridge(build("llama")))).visitors()
    product = visit["mlp_gate"](0, gate) ** 2 * linear
    gradients = torch.autograd.grad(visit["mlp_post"](0, product), [gate, linear], torch.ones(2))
    assert [g.tolist() for g in gradients] == [[5, 0], [2, 0]]


def test_the_forward_pass_is_not_changed_in_the_last_bit() -> None:
    x = torch.randn(100, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.equal(straight_through(x, 1e3 * x), x)
