"""The checks that the built-in backends pass, and loading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from toy_lm.model import ToyLM, ToyLMConfig

import eap_plugin
from eap_plugin.testing import BackendTests


def random_model(config: ToyLMConfig) -> ToyLM:
    """Make a model that is far from linear, with random biases and norm weights."""
    generator = torch.Generator().manual_seed(0)
    model = ToyLM(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = 0.25 * torch.randn(parameter.shape, generator=generator)
            parameter.add_(noise) if parameter.ndim == 1 else parameter.copy_(noise)
    return model


class TestToyLM(BackendTests):
    backend = "toy-lm"

    def make(self) -> ToyLM:
        return random_model(ToyLMConfig())


class TestOneLayerWithoutGroups(BackendTests):
    backend = "toy-lm"

    def make(self) -> ToyLM:
        return random_model(ToyLMConfig(n_layers=1, n_kv_heads=4))


def test_a_saved_model_is_loaded_by_name(tmp_path: Path) -> None:
    model = random_model(ToyLMConfig()).float()
    model.save(tmp_path)
    loaded = eap_plugin.load_model(str(tmp_path), backend="toy-lm")
    tokens = torch.arange(6)[None]
    torch.testing.assert_close(loaded.forward(tokens, {}), model(tokens)[:, -1])
    with pytest.raises(eap_plugin.UsageError, match="is not a folder that ToyLM.save wrote"):
        eap_plugin.load_model(str(tmp_path / "none"), backend="toy-lm")
