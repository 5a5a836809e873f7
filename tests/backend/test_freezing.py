"""The caller's model comes back exactly as it was: after success, an exception, and Ctrl-C."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

FLAGS = ("use_attn_result", "use_split_qkv_input", "use_hook_mlp_in")


def snapshot(model: Any) -> dict[str, Any]:
    """Record everything that a run could leave changed."""
    modules = dict(nn.Module.named_modules(model))
    modules |= {f"original {name}": m for name, m in nn.Module.named_modules(model.original_model)}
    parameters = {id(p): p for m in modules.values() for p in m._parameters.values() if p is not None}.values()
    return {
        "training": {name: m.training for name, m in modules.items()},
        "requires_grad": [p.requires_grad for p in parameters],
        "grad": [p.grad is None for p in parameters],
        "weights": [p.detach().clone() for p in parameters],
        "hooks": {
            name: (list(m._forward_hooks), list(m._forward_pre_hooks), list(m._backward_hooks))
            for name, m in modules.items()
        },
        "lens hooks": {name: len(p.fwd_hooks) + len(p.bwd_hooks) for name, p in model.hook_dict.items()},
        "flags": {flag: getattr(model.cfg, flag, None) for flag in FLAGS},
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    for a, b in zip(before.pop("weights"), after.pop("weights"), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert before == after


def unusual(name: str) -> Any:
    """Make a bridge in an unusual state, which a careless restore would lose."""
    model = bridge(build(name))
    model(prompts(2, 5)[0])  # TransformerLens wires some hooks of its own on the first forward pass
    model.train()
    model.blocks[1].eval()
    next(iter(nn.Module.parameters(model.blocks[0]))).requires_grad_(False)
    model.blocks[1].hook_out.add_hook(lambda value, hook: value)
    model.set_use_hook_mlp_in(True)
    return model


@pytest.mark.parametrize("name", ["gpt2", "llama", "gptj", "opt"])
def test_after_success(name: str) -> None:
    model = unusual(name)
    before = snapshot(model)
    eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))])
    assert_same(before, snapshot(model))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("call", [1, 2])
def test_after_an_exception(error: type[BaseException], call: int) -> None:
    """Raised in the metric: on its first call in the run without gradient, on its second in the one with."""
    model = unusual("llama")
    before = snapshot(model)
    calls = 0

    def metric(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == call:
            raise error("stop")
        return logits[:, 0]

    with pytest.raises(error, match="stop"):
        eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))], metric=metric)
    assert_same(before, snapshot(model))


def test_after_an_exception_inside_the_forward_pass() -> None:
    model = unusual("gpt2")

    def broken(value: torch.Tensor, hook: Any) -> torch.Tensor:
        raise RuntimeError("a user's hook")

    model.blocks[1].attn.hook_z.add_hook(broken)
    before = snapshot(model)
    with pytest.raises(RuntimeError, match="a user's hook"):
        eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))])
    assert_same(before, snapshot(model))


def test_the_users_own_hooks_take_part() -> None:
    """A model with a user's ablation hook is scored as that model."""
    tokens = Batch(*prompts(3, 6))
    plain = eap_plugin.prune_scores(bridge(build("gpt2")), [tokens])
    ablated = bridge(build("gpt2"))
    ablated.blocks[0].hook_mlp_out.add_hook(lambda value, hook: value * 0)
    scores = eap_plugin.prune_scores(ablated, [tokens])
    assert bool((scores.matrix[scores.graph.mlp_row(0)] == 0).all())
    assert not scores.allclose(plain)


def test_frozen_weights_and_gradients_switched_off() -> None:
    tokens = Batch(*prompts(3, 6))
    model = bridge(build("llama"))
    want = eap_plugin.prune_scores(model, [tokens])
    for p in nn.Module.parameters(model):
        p.requires_grad_(False)
    for without_gradient in (torch.no_grad, torch.inference_mode):
        with without_gradient():
            assert eap_plugin.prune_scores(model, [tokens]) == want


def test_dropout_is_off_while_scoring() -> None:
    tokens = Batch(*prompts(3, 6))
    model = bridge(build("gpt2"))
    for module in nn.Module.modules(model):
        if isinstance(module, nn.Dropout):
            module.p = 0.5
    want = eap_plugin.prune_scores(model, [tokens])
    model.train()
    assert eap_plugin.prune_scores(model, [tokens]) == want
