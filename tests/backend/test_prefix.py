"""Runs that continue from a prefix's keys and values give the logits of runs on whole prompts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.data.prompts import Prompts
from eap_plugin.model.residual_model import ResidualModel
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import FAMILIES, build, prompts

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
N_PREFIX, TOKENS = 5, prompts(3, 8)[0]


def mask(*lengths: tuple[int, int]) -> Tensor:
    """Make an attention mask from each prompt's first real token, and the one after its last."""
    positions = torch.arange(TOKENS.shape[1])
    return torch.stack([(start <= positions) & (positions < stop) for start, stop in lengths])


PADDED = {
    "none": Prompts(TOKENS),
    "left": Prompts(TOKENS, mask((2, 8), (0, 8), (6, 8))),  # the last prompt begins after the prefix
    "right": Prompts(TOKENS, mask((0, 6), (0, 8), (0, 7)), torch.tensor([5, 7, 6])),
}


def logits(model: ResidualModel, whole: Prompts, n_prefix: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logits of whole prompts, those of their rest after the prefix, and those of two copies of the rest."""
    start, rest = whole.split(n_prefix)
    with torch.no_grad():
        rest = replace(rest, prefix=model.prefix(start))
        return model.forward(whole, {}), model.forward(rest, {}), model.forward(rest.repeat(2), {})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_prefix_changes_no_logits(name: str, backend: str) -> None:
    """For every family, padded on either side; the window of sliding attention is shorter than the prefix."""
    with InFloat64():
        model = eap_plugin.wrap_model(BACKENDS[backend](build(name, torch.float64)))
        for side, whole in PADDED.items():
            want, found, twice = model.run(logits, whole, N_PREFIX)
            allowed = 1e-12 * float(want.abs().max())
            assert float((found - want).abs().max()) <= allowed, side
            assert float((twice - want.repeat(2, 1)).abs().max()) <= allowed, side


def test_a_prefix_on_a_server() -> None:
    there = eap_plugin.load_model("ioi-llama", backend="nnsight", remote="local")
    want, found, _ = there.run(logits, eap_plugin.load_task("ioi", there, n_prompts=3).batch().clean_prompts, 2)
    assert there.remote is not None
    assert there.remote.requests == 1
    torch.testing.assert_close(found, want, rtol=1e-5, atol=1e-5)
