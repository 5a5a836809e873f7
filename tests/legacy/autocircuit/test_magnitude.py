"""``activation-magnitude`` gives AutoCircuit's own numbers, run side by side."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from auto_circuit.prune_algos.activation_magnitude import activation_magnitude_prune_scores

import eap_plugin
from tests.support import golden_cases as golden
from tests.support.patchable import difference, loader, patchable

TOLERANCE = {"float32": 1e-5, "float64": 1e-13}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", golden.MODELS)
def test_equals_autocircuit_on_one_batch(name: str, dtype: str, record_property: Callable[[str, str], None]) -> None:
    model, data = patchable(name, dtype), loader(name, n_prompts=8)
    found = eap_plugin.prune_scores(model, data, algorithm="activation-magnitude")
    error = difference(found, activation_magnitude_prune_scores(model, data, None))
    record_property("AutoCircuit activation_magnitude", f"{error:.1e}")
    assert error <= TOLERANCE[dtype]


def test_several_batches_are_one_set_of_prompts() -> None:
    """AutoCircuit averages the absolute values of its batches' means; ours is that of the mean over all prompts."""
    model, data = patchable("tiny_gpt2", "float64"), loader("tiny_gpt2", n_prompts=16)
    together = eap_plugin.prune_scores(model, data, algorithm="activation-magnitude")
    pair = golden.batches("tiny_gpt2", golden.Case(sizes=(16,)))
    whole = eap_plugin.prune_scores(model, pair, algorithm="activation-magnitude")
    torch.testing.assert_close(together.matrix, whole.matrix)
    theirs = activation_magnitude_prune_scores(model, data, None)
    assert all(bool((x >= together[module] - 1e-12).all()) for module, x in theirs.items())
