"""The oracle's methods against each other, where two of them must agree."""

from __future__ import annotations

import pytest
import torch

from tests.oracle.atp_star import atp_star_edges
from tests.oracle.circuits import edge_effects, patched_losses, removed, writer_effects
from tests.oracle.masks import mask_gradient
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.oracle.recomputed import atp_star
from tests.support.zoo import build, prompts

PROMPTS = prompts(2, 5, seed=1)


@pytest.fixture(params=["gpt2", "gptj", "falcon"])
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_atp_star_is_that_of_real_patterns_where_scores_are_linear(name: str) -> None:
    with InFloat64():
        model = build(name, torch.float64)
        want = atp_star(model, name, PROMPTS)
        found = atp_star_edges(Oracle(model, name, PROMPTS), drop=True, positions=False)
    assert {edge: float(score) for edge, score in found.items()} == pytest.approx(want, rel=0, abs=1e-12)


def test_a_masks_gradient_is_the_slope_of_losses(name: str) -> None:
    """At 0, by patching one edge a little; at 1, by patching it a little less than all others."""
    with InFloat64():
        oracle = Oracle(build(name, torch.float64), name, PROMPTS)
        for mask, step in ((0.0, 1e-5), (1.0, -1e-5)):
            slopes = mask_gradient(oracle, mask)
            edges = list(slopes)
            some = torch.arange(0, len(edges), 9)
            patched = torch.full((1 + len(some), len(edges)), mask, dtype=torch.float64)
            patched[1 + torch.arange(len(some)), some] += step
            losses = patched_losses(oracle, edges, patched)
            found = ((losses[1:] - losses[0]) / step).tolist()
            assert found == pytest.approx([slopes[edges[i]].sum().item() for i in some], rel=0, abs=1e-3)


def test_a_writers_effect_is_that_of_all_its_edges(name: str) -> None:
    with InFloat64():
        oracle = Oracle(build(name, torch.float64), name, PROMPTS)
        edges = list(edge_effects(oracle))
        effects = writer_effects(oracle)
        patched = torch.tensor([[False] * len(edges), *([u == writer for u, _ in edges] for writer in effects)])
        losses = patched_losses(oracle, edges, patched)
    assert (losses[1:] - losses[0]).tolist() == pytest.approx(list(effects.values()), rel=0, abs=1e-12)


def test_a_search_does_not_depend_on_where_it_starts(name: str) -> None:
    with InFloat64():
        oracle = Oracle(build(name, torch.float64), name, PROMPTS)
        gone = removed(oracle, 0.05)
        assert removed(oracle, 0.05, list(edge_effects(oracle))) == gone
        assert 5 < len(gone) < len(edge_effects(oracle)) - 5
