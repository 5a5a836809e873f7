"""Gradient methods on a ``TransformerBridge`` give AutoCircuit's and EAP-IG's recorded outputs."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from tests.oracle.precision import InFloat64
from tests.support import golden_cases as golden
from tests.support import golden_eap_ig as eap_ig
from tests.support.bridges import bridge
from tests.support.golden_models import MAKERS


@pytest.mark.parametrize(("model", "case", "dtype"), golden.runs(MAKERS))
def test_equals_autocircuit(model: str, case: str, dtype: str) -> None:
    wrapped = bridge(MAKERS[model](model).to(getattr(torch, dtype)))
    config, data = golden.config(model)["config"], golden.prompts(model, golden.CASES[case])
    with InFloat64() if dtype == "float64" else nullcontext():
        scores = golden.scores(wrapped, golden.CASES[case], *data)
    groups = config["n_key_value_heads"] or config["n_heads"]
    error = golden.worst_error(scores, golden.recorded(model, case, dtype), groups, config["n_heads"])
    assert error <= limit(model, dtype)


@pytest.mark.parametrize(("model", "case", "dtype"), eap_ig.runs(MAKERS))
def test_equals_eap_ig(model: str, case: str, dtype: str) -> None:
    wrapped, data = bridge(MAKERS[model](model).to(getattr(torch, dtype))), golden.prompts(model, eap_ig.CASES[case])
    with InFloat64() if dtype == "float64" else nullcontext():
        scores = golden.scores(wrapped, eap_ig.CASES[case], *data)
    assert eap_ig.worst_error(scores, model, case, dtype) <= limit(model, dtype)


def limit(model: str, dtype: str) -> float:
    """Return the largest error allowed: Hugging Face computes rotary angles in float32 whatever the model's dtype."""
    return 1e-7 if (model, dtype) == ("tiny_llama_hf", "float64") else golden.TOLERANCE[dtype]
