"""Metrics against values worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch, pad_answers
from eap_plugin.metric.metric import as_metric

TOKENS = torch.zeros(2, 3, dtype=torch.long)
LOGITS = torch.tensor([[0.0, 1.0, 2.0, 4.0], [3.0, 0.0, 0.0, 1.0]])


def batch(answers: list[list[int]], wrong: list[list[int]]) -> Batch:
    return Batch(TOKENS, TOKENS, pad_answers(answers), pad_answers(wrong))


def value(name: str, answers: list[list[int]], wrong: list[list[int]]) -> float:
    return float(eap_plugin.metrics()[name](LOGITS, batch(answers, wrong)))


def test_logit_diff_averages_over_answers_then_prompts() -> None:
    assert value("logit_diff", [[3], [0]], [[1], [3]]) == pytest.approx((4 - 1 + 3 - 1) / 2)
    assert value("logit_diff", [[3, 2], [0]], [[0, 1], [1, 2]]) == pytest.approx(((4 + 2) / 2 - 0.5 + 3 - 0) / 2)


def test_no_wrong_answers_is_the_answer_alone() -> None:
    assert value("logit_diff", [[3], [0]], [[], [3]]) == pytest.approx((4 + 3 - 1) / 2)
    assert value("answer_logit", [[3], [0]], [[1], [3]]) == pytest.approx((4 + 3) / 2)


def test_probabilities() -> None:
    p = torch.softmax(LOGITS, -1)
    assert value("prob_diff", [[3], [0]], [[1], [3]]) == pytest.approx(float(p[0, 3] - p[0, 1] + p[1, 0] - p[1, 3]) / 2)
    log_p = p.log()
    want = float((log_p[0, 3] + log_p[0, 2]) / 2 - log_p[0, 1] + log_p[1, 0] - log_p[1, 3]) / 2
    assert value("logprob_diff", [[3, 2], [0]], [[1], [3]]) == pytest.approx(want)


def test_accuracy_counts_prompts_with_a_right_answer_ahead() -> None:
    assert value("accuracy", [[3], [0]], [[1], [3]]) == 1
    assert value("accuracy", [[1], [0]], [[3, 0], [3, 0]]) == 0.0
    assert value("accuracy", [[0, 3], [3]], [[1, 2], [0, 1]]) == 0.5
    assert value("accuracy", [[3], [3]], [[], []]) == 0.5  # ahead of all other tokens
    assert value("accuracy", [[2], [1]], [[2], [2]]) == 0.0  # a tie is no lead


def test_kl_is_zero_at_the_clean_run_and_negative_away_from_it() -> None:
    kl = eap_plugin.metrics()["kl"]
    here = replace(batch([[3], [0]], [[1], [3]]), clean_logits=LOGITS)
    assert float(kl(LOGITS, here)) == pytest.approx(0, abs=1e-7)
    other = torch.tensor([[0.0, 1.0, 2.0, 3.0], [3.0, 1.0, 0.0, 1.0]])
    p, q = torch.softmax(LOGITS, -1), torch.softmax(other, -1)
    assert float(kl(other, here)) == pytest.approx(-float((p * (p / q).log()).sum(-1).mean()), rel=1e-5)
    with pytest.raises(eap_plugin.UsageError, match="has no clean_logits"):
        kl(LOGITS, batch([[3], [0]], [[1], [3]]))


@pytest.mark.parametrize(
    ("function", "got"), [(lambda logits, batch: logits, r"\[2, 4\]"), (lambda logits, batch: 1.0, "float")]
)
def test_a_users_function_must_give_a_number_per_prompt(function: object, got: str) -> None:
    with pytest.raises(eap_plugin.UsageError, match=rf"must return one number per prompt.*got {got}"):
        as_metric(function)(LOGITS, batch([[3], [0]], [[1], [3]]))  # type: ignore[arg-type]


def test_registered_under_their_names() -> None:
    assert set(eap_plugin.metrics()) >= {"logit_diff", "answer_logit", "logprob_diff", "prob_diff", "kl"}
