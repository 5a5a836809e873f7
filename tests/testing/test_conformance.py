"""The built-in algorithms and backends pass the kit that authors of plugins are given."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin.testing import AgreementTests, AlgorithmTests
from eap_plugin.testing.algorithm import Chosen
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.quick import QUICK
from tests.support.zoo import build

pytestmark = pytest.mark.exhaustive


class TestBuiltInAlgorithms(AlgorithmTests):
    @pytest.fixture(params=list(eap_plugin.algorithms()))
    def chosen(self, request: pytest.FixtureRequest) -> Chosen:
        return Chosen(request.param, QUICK.get(request.param, {}))


class BuiltInBackendTests(AgreementTests):
    """On a model with layer norms and one with RMS norms and grouped queries, parallel blocks and post-norms."""

    @pytest.fixture(params=["gpt2", "llama", "gptj", "gpt_neox", "gemma2"], autouse=True)
    def architecture(self, request: pytest.FixtureRequest) -> Iterator[None]:
        self.name = request.param
        with InFloat64():
            yield

    def hf_model(self) -> Any:
        return build(self.name, torch.float64)


class TestTransformerLens(BuiltInBackendTests):
    backend = "transformer_lens"

    def make(self) -> Any:
        return bridge(self.hf_model())

    def reference(self) -> Any:
        return nnsight.NNsight(self.hf_model())


class TestNNsight(BuiltInBackendTests):
    backend = "nnsight"

    def make(self) -> Any:
        return nnsight.NNsight(self.hf_model())

    def reference(self) -> Any:
        return bridge(self.hf_model())
