"""EAP against plain autograd, edge by edge, on every architecture."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

import eap_plugin
from eap_plugin.batch import Batch
from tests.bridges import bridge
from tests.oracle.brute_force import oracle_scores
from tests.verdicts import ALLOWED, score_error, worst
from tests.zoo import ARCHITECTURES, FAMILIES, build, prompts

MODELS = (*ARCHITECTURES, "gpt_neox_sequential", "llama_biased")
"""Those on which other algorithms are tested on every edge, too."""


@pytest.mark.parametrize("name", FAMILIES)
def test_float32(name: str, record_property: Callable[[str, str], None]) -> None:
    error = score_error(name, "TransformerBridge", torch.float32)
    record_property("error TransformerBridge float32", f"{error:.1e}")
    assert error <= ALLOWED[torch.float32]


@pytest.mark.parametrize("name", FAMILIES)
def test_float64(name: str, record_property: Callable[[str, str], None]) -> None:
    error = score_error(name, "TransformerBridge", torch.float64)
    record_property("error TransformerBridge float64", f"{error:.1e}")
    assert error <= ALLOWED[torch.float64]


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "olmo2", "falcon"])
def test_positions(name: str) -> None:
    model, tokens = build(name), prompts(4, 7)
    scores = eap_plugin.prune_scores(bridge(build(name)), [Batch(*tokens)], positions=True)
    assert worst(scores, oracle_scores(model, name, *tokens, positions=True)) <= 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox"])
def test_a_users_metric(name: str) -> None:
    """Any differentiable function of the logits, here one that reads neither answers nor a difference."""
    model, tokens = build(name), prompts(4, 7)

    def entropy(logits: torch.Tensor, batch: object = None) -> torch.Tensor:
        return -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1)

    scores = eap_plugin.prune_scores(bridge(build(name)), [Batch(*tokens)], metric=entropy)
    assert worst(scores, oracle_scores(model, name, *tokens, metric=entropy)) <= 1e-5


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "olmo2"])
def test_compatibility_mode(name: str) -> None:
    """Folded norms and centred weights are another way to write the same function, edges and all.

    So are folded value biases, unless a norm follows attention or attention has sinks: see ``test_self_check``.
    """
    model, tokens = build(name), prompts(4, 7)
    folded = bridge(build(name))
    folded.enable_compatibility_mode(disable_warnings=True)
    scores = eap_plugin.prune_scores(folded, [Batch(*tokens)])
    assert worst(scores, oracle_scores(model, name, *tokens)) <= 1e-5
