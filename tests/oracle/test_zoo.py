"""The zoo's models and prompts are what tests take them for: repeatable, and hard enough to tell mistakes."""

from __future__ import annotations

import pytest
import torch

from tests.oracle.brute_force import finite_difference, oracle_scores
from tests.oracle.layout import LAYOUTS
from tests.zoo import FIRST_WORD, VOCAB, build, prompts

PROMPTS = prompts(4, 7)


@pytest.mark.parametrize("name", LAYOUTS)
def test_models_are_far_from_linear(name: str) -> None:
    model = build(name)
    with torch.no_grad():
        output = model(PROMPTS[0], output_attentions=True, use_cache=False)
    assert 0.5 < output.logits.std() < 2.5
    strongest = torch.stack(output.attentions)[..., -1, :].amax(dim=-1)
    assert strongest.mean() > 2 / 7  # of seven positions; a uniform pattern has 1/7

    scores = oracle_scores(model, name, *PROMPTS)
    largest = max(abs(score) for score in scores.values())
    for reader in ("a1.h0<q>", "a1.h0<k>", "m1"):
        edges = [(writer, reader) for writer in ("input", "a0.h0", "m0")]
        swaps = {edge: finite_difference(model, name, edge, *PROMPTS, step=1.0) for edge in edges}
        assert max(abs(swaps[edge] - scores[edge]) for edge in edges) > 1e-3 * largest, reader


def test_norms_and_biases_are_not_trivial() -> None:
    for name in LAYOUTS:
        for path, parameter in build(name).named_parameters():
            assert parameter.numel() == 1 or parameter.std() > 0.1, (name, path)


def test_a_model_depends_on_its_seed_alone() -> None:
    first, again, other = (
        build("qwen3", dtype, seed) for dtype, seed in ((torch.float32, 0), (torch.float64, 0), (torch.float32, 1))
    )
    for (path, one), two, three in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one.double(), two), path
        assert not torch.equal(one, three), path


def test_prompts_differ_but_never_at_the_start() -> None:
    clean, corrupt, answers, wrong = prompts(50, 6, seed=3)
    changed = clean != corrupt
    assert changed.any(dim=1).all()
    assert not changed[:, 0].any()
    assert not changed.all(dim=0)[1:].any()
    assert (answers != wrong).all()
    every = torch.cat([clean.flatten(), corrupt.flatten(), answers.flatten(), wrong.flatten()])
    assert FIRST_WORD <= every.min() <= every.max() < VOCAB
    assert torch.equal(prompts(50, 6, seed=3)[0], clean)
    assert not torch.equal(prompts(50, 6, seed=4)[0], clean)
