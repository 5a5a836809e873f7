"""The result of a backend on a model of the zoo: the error against the oracle's scores, or the refusal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import nnsight
import torch
from transformers import PreTrainedModel

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.oracle.brute_force import Edge, oracle_scores
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

BACKENDS: dict[str, Callable[[PreTrainedModel], Any]] = {
    "TransformerBridge": lambda model: bridge(model, name=type(model).__name__),
    "nnsight": nnsight.NNsight,
}
PROMPTS = {torch.float32: prompts(4, 7), torch.float64: prompts(3, 6, seed=1)}
ALLOWED = {torch.float32: 1e-5, torch.float64: 1e-12}
"""The largest error allowed for an edge, relative to the largest score."""

NO_BRIDGE = ("dbrx", "helium", "phimoe", "gpt_bigcode_multi_head", "falcon_new")
"""Models of which TransformerLens cannot make a bridge and raises an error of its own."""


def score_error(name: str, backend: str, dtype: torch.dtype) -> float:
    """Compute the largest error of an edge's score through a backend, relative to the largest score."""
    model, want = BACKENDS[backend](build(name, dtype)), expected(name, dtype)
    with InFloat64() if dtype == torch.float64 else nullcontext():
        return worst(eap_plugin.prune_scores(model, [Batch(*PROMPTS[dtype])]), want)


@cache
def expected(name: str, dtype: torch.dtype) -> dict[Edge, Any]:
    """Compute the oracle's scores on ``PROMPTS``."""
    model = build(name, dtype)
    with InFloat64() if dtype == torch.float64 else nullcontext():
        return oracle_scores(model, name, *PROMPTS[dtype])


def worst(scores: eap_plugin.PruneScores, want: dict[tuple[str, str], torch.Tensor], least: float = 0.1) -> float:
    """Compute the largest difference over the largest score, which must be more than ``least``."""
    assert {f"{u}->{v}" for u, v in want} == {edge.name for edge in scores.top(scores.n_edges)} or scores.has_positions
    exact = {edge: torch.as_tensor(x, dtype=torch.float64) for edge, x in want.items()}
    largest = max(float(x.abs().max()) for x in exact.values())
    assert largest > least
    errors = [float((scores.edge(f"{u}->{v}") - x).abs().max()) for (u, v), x in exact.items()]
    return max(errors) / largest


def refusal(name: str, backend: str) -> str:
    """Return the error message with which a model is refused through a backend.

    Raises:
        ValueError: if it is scored.
    """
    from_transformer_lens = (AssertionError, RuntimeError, ValueError)
    refused = (eap_plugin.EapPluginError, *from_transformer_lens) if name in NO_BRIDGE else eap_plugin.EapPluginError
    model = build(name)
    try:
        eap_plugin.prune_scores(BACKENDS[backend](model), [Batch(*prompts(2, 5))])
    except refused as error:
        return str(error)
    raise ValueError(f"{name} is scored through {backend}")
