"""AutoCircuit's metrics: a grad function is applied to the logits, and an answer function to the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.data.batch import NO_ANSWER, Batch
from eap_plugin.metric.metric import Judge, Metric, difference, over_answers

GradFunction = Literal["logit", "prob", "logprob", "logit_exp"]
AnswerFunction = Literal["avg_diff", "avg_val", "mse"]


def answer_metric(grad: GradFunction, answer: AnswerFunction) -> Metric:
    """Return the metric that applies a grad function to the logits and an answer function to its values."""
    values, judge = _VALUES[grad], _JUDGES[answer]
    return Metric(f"{grad} {answer}", "AutoCircuit's", lambda logits, batch: judge(values(logits), batch))


def _logit(logits: Tensor) -> Tensor:
    return logits


def _prob(logits: Tensor) -> Tensor:
    return logits.softmax(-1)


def _logprob(logits: Tensor) -> Tensor:
    return logits.log_softmax(-1)


def _logit_exp(logits: Tensor) -> Tensor:
    """Return probabilities whose normalization has no gradient."""
    return (logits - logits.logsumexp(-1, keepdim=True).detach()).exp()


def _answer_value(values: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, "batch"]:
    return over_answers(values, batch.answers)


def _minus_mse(values: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, "batch"]:
    """Return minus the mean squared error, over the vocabulary, to a target that divides 1 among the right answers."""
    there = (batch.answers != NO_ANSWER).to(values.dtype)
    target = torch.zeros_like(values).scatter_add_(1, batch.answers.clamp_min(0), there / there.sum(1, keepdim=True))
    return -(values - target).pow(2).mean(-1)


_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": _logit,
    "prob": _prob,
    "logprob": _logprob,
    "logit_exp": _logit_exp,
}
_JUDGES: dict[str, Judge] = {"avg_diff": difference, "avg_val": _answer_value, "mse": _minus_mse}
