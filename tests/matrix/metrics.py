"""What the oracle's gradients are taken of, by the options that choose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from tests.matrix.data import PROMPTS
from tests.oracle.brute_force import Metric, difference

_RIGHT, _WRONG = PROMPTS[2:]
_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "metric": lambda logits: logits,
    "logit": lambda logits: logits,
    "prob": lambda logits: logits.softmax(1),
    "logprob": lambda logits: logits.log_softmax(1),
    "logit_exp": lambda logits: logits.exp() / logits.exp().sum(1, keepdim=True).detach(),
}


def metric(options: Mapping[str, Any]) -> Metric:
    """From the last logits [batch, vocab] to one number per prompt, by ``answer_diff`` and the two functions."""
    values, judge = _VALUES[options.get("grad_function", "metric")], options.get("answer_function", "avg_diff")
    if judge == "mse":
        return lambda logits: -(values(logits) - _target(logits)).square().mean(1)
    if judge == "avg_diff" and options.get("answer_diff", True):
        return lambda logits: difference(_RIGHT, _WRONG)(values(logits))
    return lambda logits: values(logits).gather(1, _RIGHT).mean(1)


def _target(logits: Tensor) -> Tensor:
    return torch.zeros_like(logits).scatter(1, _RIGHT, 1.0)
