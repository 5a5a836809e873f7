"""eap-plugin's checks of backends, on this architecture through both built-in backends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch
from nocturne import NocturneConfig, NocturneForCausalLM
from transformer_lens.model_bridge.sources import build_bridge_from_module

import eap_plugin
from eap_plugin.testing import AgreementTests


def random_model() -> NocturneForCausalLM:
    """Make a model that is far from linear, with random biases and norm weights."""
    generator = torch.Generator().manual_seed(0)
    model: NocturneForCausalLM = NocturneForCausalLM(NocturneConfig()).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = 0.25 * torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise) if parameter.ndim == 1 else parameter.copy_(noise)
    return model


def bridge() -> Any:
    """Wrap the model as a ``TransformerBridge``."""
    model = random_model()
    return build_bridge_from_module(model, "NocturneForCausalLM", hf_config=model.config, dtype=model.dtype)


class TestTransformerLens(AgreementTests):
    backend = "transformer_lens"

    def make(self) -> Any:
        return bridge()

    def reference(self) -> Any:
        return nnsight.NNsight(random_model())


class TestNNsight(AgreementTests):
    backend = "nnsight"

    def make(self) -> Any:
        return nnsight.NNsight(random_model())

    def reference(self) -> Any:
        return bridge()


@pytest.mark.parametrize("backend", ["transformer_lens", "nnsight"])
def test_a_saved_model_is_loaded_by_name(backend: str, tmp_path: Path) -> None:
    config = NocturneConfig(vocab_size=68, architectures=["NocturneForCausalLM"])
    NocturneForCausalLM(config).save_pretrained(tmp_path)
    tokenizer = eap_plugin.load_model("ioi-gpt2").tokenizer
    tokenizer.save_pretrained(tmp_path)
    model = eap_plugin.load_model(str(tmp_path), backend=backend)
    scores = eap_plugin.prune_scores(model, eap_plugin.load_task("ioi", model, n_prompts=4))
    assert scores.graph.n_kv_heads == 2
    assert scores.matrix.any()
