"""The self-check passes on models that are understood, and says where it fails on those that are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import eap_plugin
from eap_plugin.batch import Batch
from tests.bridges import bridge
from tests.zoo import FAMILIES, build, prompts


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", FAMILIES)
def test_passes(name: str, dtype: torch.dtype) -> None:
    report = eap_plugin.check(bridge(build(name, dtype)))
    assert report.ok, report.worst
    assert len(report.rows) == 2 * 7 + 1


def broken(how: str) -> Any:
    """A model that computes something else than its parts say."""
    model = bridge(build("gpt2"))
    block = model.blocks[1]
    if how == "a block adds something of its own":
        block.hook_in.add_hook(lambda value, hook: value + 0.01)
    elif how == "attention reads something else":
        block.attn.hook_in.add_hook(lambda value, hook: value * 1.01)
    else:
        block.mlp.hook_in.add_hook(lambda value, hook: value.roll(1, dims=-1))
    return model


@pytest.mark.parametrize(
    ("how", "where"),
    [
        ("a block adds something of its own", "layer 1, writers reaching attention"),
        ("attention reads something else", "layer 1, reader q"),
        ("the MLP reads something else", "layer 1, reader mlp"),
    ],
)
def test_refuses_and_says_where(how: str, where: str) -> None:
    model = broken(how)
    assert not eap_plugin.check(model).ok
    with pytest.raises(
        eap_plugin.EapPluginError, match=rf"{where}: residue [0-9.e-]+, allowed 0.0001.*none were computed"
    ):
        eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))])


def test_on_prompts_of_a_task() -> None:
    padded = Batch(*prompts(3, 6), attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1]] * 3).bool())
    assert eap_plugin.check(bridge(build("llama")), [padded]).ok


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_massive_activations_are_no_reason_to_refuse(dtype: torch.dtype) -> None:
    """As in trained models, one direction of the residual stream dwarfs the rest, and rounding is relative to it."""
    model = build("llama", dtype)
    with torch.no_grad():
        model.model.embed_tokens.weight[:, 3] = 300
    assert eap_plugin.check(bridge(model)).ok


def test_weights_that_change_after_wrapping_are_read_anew() -> None:
    wrapped = eap_plugin.wrap_model(bridge(build("gemma2")))
    with torch.no_grad():
        wrapped.bridge.blocks[1].ln1.original_component.weight += 1
    assert eap_plugin.check(wrapped).ok
