"""What must hold of EAP whatever the prompts: batches, order, sign, identical prompts, padding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import eap_plugin
from eap_plugin.data.batch import Batch, pad_answers
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

MODELS = {name: bridge(build(name)) for name in ("gpt2", "llama", "gptj")}
models = st.sampled_from(sorted(MODELS))
few = settings(max_examples=12, deadline=None)


def batch_of(n: int, length: int, seed: int) -> Batch:
    """Prompts with ragged right and wrong answers."""
    clean, corrupt, answers, wrong = prompts(n, length, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    counts = torch.randint(1, 4, (n,), generator=generator).tolist()
    extra = [torch.randint(0, 64, (count,), generator=generator).tolist() for count in counts]
    right = pad_answers([[*row.tolist(), *more] for row, more in zip(answers, extra, strict=True)])
    return Batch(clean, corrupt, right, pad_answers([row[: 1 + i % 2] for i, row in enumerate(wrong.repeat(1, 2))]))


def scores_of(model: str, *batches: Batch, **options: Any) -> eap_plugin.PruneScores:
    return eap_plugin.prune_scores(MODELS[model], list(batches), **options)


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


@few
@given(models, st.integers(2, 6), st.integers(3, 8), st.integers(0, 99), st.integers(1, 6))
def test_the_size_of_pieces_does_not_matter(model: str, n: int, length: int, seed: int, size: int) -> None:
    batch = batch_of(n, length, seed)
    whole, pieces = scores_of(model, batch), scores_of(model, batch, batch_size=size)
    assert_close(pieces.matrix, whole.matrix)
    assert pieces.metadata["clean_metric"] == pytest.approx(whole.metadata["clean_metric"], abs=1e-5)


@few
@given(models, st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_batches_add_up_and_merge_by_their_weight(model: str, a: int, b: int, seed: int) -> None:
    both = batch_of(a + b, 6, seed)
    first, second = both.select(slice(0, a)), both.select(slice(a, a + b))
    one, two = scores_of(model, first).matrix, scores_of(model, second).matrix
    assert_close(scores_of(model, first, second).matrix, one + two)
    assert_close(scores_of(model, both).matrix, (a * one + b * two) / (a + b))


@few
@given(models, st.integers(2, 6), st.integers(0, 99), st.randoms(use_true_random=False))
def test_order_of_prompts_does_not_matter(model: str, n: int, seed: int, random: Any) -> None:
    batch = batch_of(n, 6, seed)
    order = list(range(n))
    random.shuffle(order)
    shuffled = Batch(batch.clean[order], batch.corrupt[order], batch.answers[order], batch.wrong_answers[order])
    assert_close(scores_of(model, shuffled).matrix, scores_of(model, batch).matrix)


@few
@given(models, st.integers(1, 4), st.integers(0, 99))
def test_the_sign_of_the_metric_is_the_sign_of_the_scores(model: str, n: int, seed: int) -> None:
    batch = batch_of(n, 6, seed)
    swapped = replace(batch, answers=batch.wrong_answers, wrong_answers=batch.answers)
    assert_close(scores_of(model, swapped).matrix, -scores_of(model, batch).matrix)


@few
@given(models, st.integers(1, 4), st.integers(0, 99), st.floats(0.1, 10))
def test_scores_are_linear_in_the_metric(model: str, n: int, seed: int, factor: float) -> None:
    batch = batch_of(n, 6, seed)

    def scaled(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
        return factor * eap_plugin.metrics()["logit_diff"].judge(logits, batch)

    assert_close(scores_of(model, batch, metric=scaled).matrix, factor * scores_of(model, batch).matrix)


@few
@given(models, st.integers(1, 4), st.integers(0, 99))
def test_identical_prompts_score_zero(model: str, n: int, seed: int) -> None:
    batch = batch_of(n, 6, seed)
    assert not bool(scores_of(model, replace(batch, corrupt=batch.clean)).matrix.any())


@few
@given(models, st.integers(1, 3), st.integers(1, 4), st.integers(0, 99))
def test_a_source_that_does_not_change_scores_zero(model: str, n: int, same: int, seed: int) -> None:
    """Where only the last tokens differ, no position before them scores."""
    batch = batch_of(n, 6, seed)
    corrupt = torch.where(torch.arange(6) < same, batch.clean, batch.corrupt)
    scores = scores_of(model, replace(batch, corrupt=corrupt), positions=True)
    assert not bool(scores.matrix[:same].any())


@few
@given(models, st.integers(1, 4), st.integers(0, 99))
def test_positions_add_up(model: str, n: int, seed: int) -> None:
    batch = batch_of(n, 6, seed)
    scores = scores_of(model, batch, positions=True)
    assert list(scores.matrix.shape[:1]) == [6]
    assert_close(scores.sum_positions().matrix, scores_of(model, batch).matrix)


@few
@given(models, st.lists(st.integers(3, 8), min_size=2, max_size=5), st.booleans(), st.integers(0, 99))
def test_padding_changes_nothing(model: str, lengths: list[int], left: bool, seed: int) -> None:
    """Prompts of several lengths in one padded batch score as each by itself."""
    singles = [batch_of(1, length, seed + i) for i, length in enumerate(lengths)]
    width = max(lengths)

    def padded(rows: list[torch.Tensor]) -> torch.Tensor:
        out = torch.full((len(rows), width), 2)
        for i, row in enumerate(rows):
            out[i, width - len(row) if left else 0 :][: len(row)] = row
        return out

    mask = padded([torch.ones(length) for length in lengths]) == 1
    together = Batch(
        padded([s.clean[0] for s in singles]),
        padded([s.corrupt[0] for s in singles]),
        pad_answers([s.answers[0] for s in singles]),
        pad_answers([s.wrong_answers[0] for s in singles]),
        mask,
    )
    mean = sum(scores_of(model, s).matrix for s in singles) / len(singles)
    assert_close(scores_of(model, together).matrix, mean)


@few
@given(models, st.integers(1, 4), st.integers(0, 99))
def test_answer_diff_false_is_the_answer_alone(model: str, n: int, seed: int) -> None:
    batch = batch_of(n, 6, seed)
    alone = scores_of(model, batch, metric="answer_logit")
    assert_close(scores_of(model, batch, answer_diff=False).matrix, alone.matrix)


def test_float64_accumulation_refines_float32() -> None:
    batch = batch_of(4, 7, 3)
    fine, coarse = scores_of("gpt2", batch, dtype="float64"), scores_of("gpt2", batch)
    assert fine.matrix.dtype == torch.float64
    assert coarse.matrix.dtype == torch.float32
    assert_close(coarse.matrix.double(), fine.matrix)


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma3"])
def test_half_precision_is_close(name: str) -> None:
    """A bfloat16 model is scored in float32; what differs is the model's own rounding."""
    batch = batch_of(4, 7, 3)
    full = eap_plugin.prune_scores(bridge(build(name)), [batch])
    half = eap_plugin.prune_scores(bridge(build(name, torch.bfloat16)), [batch])
    assert half.matrix.dtype == torch.float32
    flat = torch.stack([full.matrix[full.is_edge], half.matrix[full.is_edge]])
    assert float(torch.corrcoef(flat)[0, 1]) > 0.99
