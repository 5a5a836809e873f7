"""A padded prompt is to the oracle what it is by itself."""

from __future__ import annotations

import pytest
import torch

from tests.oracle.brute_force import difference
from tests.oracle.methods import Oracle
from tests.oracle.precision import InFloat64
from tests.support.zoo import build, prompts

LENGTHS = (6, 4, 5)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["gpt2", "opt", "bloom", "mpt", "gptj", "gemma2", "phi3", "codegen"])
def test_a_padded_prompt_scores_as_alone(name: str, side: str) -> None:
    clean, corrupt, answers, wrong = prompts(3, 6, seed=5)
    place = torch.arange(6) if side == "right" else torch.arange(6).flip(0)
    mask = place < torch.tensor(LENGTHS)[:, None]
    with InFloat64():
        model = build(name, torch.float64)
        together = Oracle(model, name, (clean, corrupt, answers, wrong), mask=mask)
        found = together.scores(together.gradients())
        for row, real in enumerate(mask):
            alone = (clean[row : row + 1, real], corrupt[row : row + 1, real])
            ids = (answers[row : row + 1], wrong[row : row + 1])
            oracle = Oracle(model, name, (*alone, *ids), metric=difference(*ids))
            for edge, score in oracle.scores(oracle.gradients()).items():
                torch.testing.assert_close(3 * found[edge][row, real], score[0], rtol=1e-9, atol=1e-12)
            assert not any(score[row, ~real].any() for score in found.values())
