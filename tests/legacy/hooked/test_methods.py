"""GIM, RelP and AtP* on a ``HookedTransformer`` as their authors compute them there: by hooks, on split inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformer_lens import HookedTransformer

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.support import golden_cases as golden
from tests.support.hooked import hooked_model

FLAGS = ("use_split_qkv_input", "use_hook_mlp_in", "use_attn_result")
Hooks = list[tuple[Any, Callable[..., Any]]]


class Backward(torch.autograd.Function):
    """A value with a given backward pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor, pull: Callable[[Tensor], Tensor]) -> Tensor:
        ctx.pull = pull
        return value.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        return ctx.pull(g), None, None


def scaled(scale: float) -> Callable[..., Tensor]:
    return lambda x, hook: Backward.apply(x, x.detach(), lambda g: g * scale)


def ends(*names: str) -> Callable[[str], bool]:
    return lambda name: name.endswith(names)


def gim(model: HookedTransformer, patch: pytest.MonkeyPatch) -> Hooks:
    def softmax(x: Tensor, dim: int) -> Tensor:
        p = (x.detach() / 2).softmax(dim)
        return Backward.apply(x, x.detach().softmax(dim), lambda g: p * (g - (g * p).sum(-1, keepdim=True)))

    patch.setattr(nn.functional, "softmax", softmax)
    hooks: Hooks = [
        (ends("hook_scale"), lambda x, hook: x.detach()),
        (ends("attn.hook_q", "attn.hook_k"), scaled(0.25)),
        (ends("attn.hook_v"), scaled(0.5)),
    ]
    if model.cfg.gated_mlp:
        hooks.append((ends("mlp.hook_pre", "mlp.hook_pre_linear"), scaled(0.5)))
    return hooks


def relp(model: HookedTransformer, patch: pytest.MonkeyPatch) -> Hooks:
    for block in model.blocks if not model.cfg.attn_only else ():
        act = block.mlp.act_fn
        block.mlp.act_fn = lambda x, act=act: x * (act(x) / x).detach()
    hooks: Hooks = [(ends("hook_scale"), lambda x, hook: x.detach())]
    if model.cfg.gated_mlp:
        hooks.append((ends("mlp.hook_pre", "mlp.hook_pre_linear"), scaled(0.5)))
    return hooks


def added(cache: dict[str, Tensor], model: HookedTransformer) -> list[Tensor]:
    """Return the output of each writer, [batch, pos, d_model], in the order of sources."""
    out = [cache["blocks.0.hook_resid_pre"]]
    for layer in range(model.cfg.n_layers):
        out += cache[f"blocks.{layer}.attn.hook_result"].unbind(2)
        if not model.cfg.attn_only:
            out.append(cache[f"blocks.{layer}.hook_mlp_out"])
    return out


def keep(into: dict[str, Tensor]) -> tuple[Callable[[str], bool], Callable[..., None]]:
    return (lambda name: True), lambda x, hook: into.__setitem__(hook.name, x)


def prepared(name: str) -> HookedTransformer:
    model = hooked_model(name, "float64")
    model.requires_grad_(True)
    if model.cfg.gated_mlp:  # TransformerLens adds this after the product, which has no place in other libraries
        for block in model.blocks:
            block.mlp.b_in.data.zero_()
    return model


def loss(logits: Tensor, batch: Batch) -> Tensor:
    last = logits[:, -1]
    return (last.gather(1, batch.wrong_answers).mean(1) - last.gather(1, batch.answers).mean(1)).mean()


def oracle(model: HookedTransformer, batch: Batch, hooks: Hooks) -> dict[str, Tensor]:
    """Scores by module: every reader has an input of its own, whose gradient is taken."""
    for flag in FLAGS:
        setattr(model.cfg, flag, flag != "use_hook_mlp_in" or not model.cfg.attn_only)
    clean: dict[str, Tensor] = {}
    corrupt: dict[str, Tensor] = {}
    model.run_with_hooks(batch.corrupt, fwd_hooks=[keep(corrupt)])
    logits = model.run_with_hooks(batch.clean, fwd_hooks=[*hooks, keep(clean)])
    change = [(a - b).detach() for a, b in zip(added(corrupt, model), added(clean, model), strict=True)]
    scores = eap_plugin.wrap_model(model).graph.modules
    gradients = torch.autograd.grad(loss(logits, batch), [clean[module] for module in scores])
    per_head = [g if g.ndim == 4 else g[:, :, None] for g in gradients]
    matrices = [torch.einsum("sbpd,bphd->hs", torch.stack(change), g) for g in per_head]
    return dict(zip(scores, matrices, strict=True))


@pytest.mark.parametrize(("algorithm", "rules"), [("gim", gim), ("relp", relp)])
@pytest.mark.parametrize("name", golden.MODELS)
def test_changed_backward_rules(
    name: str, algorithm: str, rules: Callable[..., Hooks], monkeypatch: pytest.MonkeyPatch
) -> None:
    (batch,) = golden.batches(name, golden.CASES["eap_seed"])
    found = eap_plugin.prune_scores(prepared(name), [batch], algorithm=algorithm)
    model = prepared(name)
    compare(found, oracle(model, batch, rules(model, monkeypatch)))


def compare(found: Any, want: dict[str, Tensor]) -> None:
    largest = max(float(x.abs().max()) for x in want.values())
    for module, scores in found.items():
        expected = want[module][..., : scores.shape[-1]].reshape(scores.shape)
        torch.testing.assert_close(scores.double(), expected, rtol=0, atol=1e-10 * largest, msg=module)


@pytest.mark.parametrize("name", golden.MODELS)
def test_recomputed_attention(name: str) -> None:
    """Edges into q and k by the patterns that really change when a head alone reads another input."""
    (batch,) = golden.batches(name, golden.CASES["eap_seed"])
    found = eap_plugin.prune_scores(prepared(name), [batch], algorithm="atp-star", grad_drop=False)
    model = prepared(name)
    want = oracle(model, batch, [])
    clean: dict[str, Tensor] = {}
    corrupt: dict[str, Tensor] = {}
    model.run_with_hooks(batch.corrupt, fwd_hooks=[keep(corrupt)])
    logits = model.run_with_hooks(batch.clean, fwd_hooks=[keep(clean)])
    change = [(a - b).detach() for a, b in zip(added(corrupt, model), added(clean, model), strict=True)]
    for module in found:
        if not module.endswith(("hook_q_input", "hook_k_input")):
            continue
        pattern = f"{module.rsplit('.', 1)[0]}.attn.hook_pattern"
        (gradient,) = torch.autograd.grad(loss(logits, batch), clean[pattern], retain_graph=True)
        heads, sources = found[module].shape
        for head in range(heads):
            for source in range(sources):
                moved: dict[str, Tensor] = {}

                def push(x: Tensor, hook: Any, head: int = head, source: int = source) -> Tensor:
                    pushed = x.clone()
                    pushed[:, :, head] += change[source]
                    return pushed

                with torch.no_grad():
                    model.run_with_hooks(
                        batch.clean, fwd_hooks=[(module, push), (pattern, partial(_store, moved, pattern))]
                    )
                want[module][head, source] = ((moved[pattern] - clean[pattern]) * gradient).sum().detach()
    compare(found, want)


def _store(into: dict[str, Tensor], name: str, x: Tensor, hook: Any) -> None:
    into[name] = x


@pytest.mark.parametrize("options", [{"algorithm": "gim"}, {"algorithm": "atp-star"}, {"algorithm": "eap"}], ids=str)
def test_padding_on_the_left_scores_nothing(options: dict[str, Any]) -> None:
    """Its queries see no key at all, and their patterns are no numbers; whatever they are does not matter."""
    (batch,) = golden.batches("tiny_gpt2", golden.CASES["eap_seed"])
    mask = torch.ones_like(batch.clean, dtype=torch.bool)
    mask[:, :2] = False
    model = prepared("tiny_gpt2")
    model.tokenizer, model.cfg.default_padding_side = None, "left"
    padded = replace(batch, attention_mask=mask)
    other = torch.where(mask, batch.clean, (batch.clean + 1) % model.cfg.d_vocab)
    found, again = (
        eap_plugin.prune_scores(model, [data], positions=True, **options).matrix
        for data in (padded, replace(padded, clean=other, corrupt=torch.where(mask, batch.corrupt, other)))
    )
    assert not found[:2].any()
    torch.testing.assert_close(found, again)
