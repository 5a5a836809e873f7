"""Evaluations and searches that are interrupted leave the model as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import pytest
from torch import Tensor

import eap_plugin
from eap_plugin import Batch
from eap_plugin.interventions.circuit_patch import CircuitPatch
from eap_plugin.testing.state import left_as_found
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
DATA, OTHERS = (Batch(*prompts(3, 6, seed=seed)) for seed in (0, 1))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_model_is_left_as_it_was(backend: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if it is in the middle of a patched run, after some layers."""
    model = eap_plugin.wrap_model(BACKENDS[backend](build("gpt2")))
    scores = eap_plugin.prune_scores(model, DATA)
    right = CircuitPatch._on_z

    def failing(self: CircuitPatch, index: int, value: Tensor) -> Tensor | None:
        if index == 1:
            raise error
        return right(self, index, value)

    monkeypatch.setattr(CircuitPatch, "_on_z", failing)
    for run in (
        lambda: eap_plugin.evaluate(model, DATA, scores),
        lambda: eap_plugin.find_circuit(model, DATA, scores, held_out=OTHERS),
    ):
        with left_as_found(model), pytest.raises(error):
            run()
