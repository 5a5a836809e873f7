"""Metrics: how well a model does a task, as one number per prompt computed from its logits; higher is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from eap_plugin.data.batch import NO_ANSWER, Batch
from eap_plugin.errors import UsageError

Judge = Callable[[Float[Tensor, "batch vocab"], Batch], Tensor]


@dataclass(frozen=True)
class Metric:
    """A named metric.

    Attributes:
        name: the metric's name on the command line.
        summary: one line on what it measures.
        judge: a function of the logits at each prompt's last position and the batch that returns one number per
            prompt, or their mean.
        unit: the unit of the numbers.
        needs_clean_logits: whether it reads ``batch.clean_logits``.
        flat_when_clean: whether its gradient on the clean run is zero by construction.
    """

    name: str
    summary: str
    judge: Judge
    unit: str = ""
    needs_clean_logits: bool = False
    flat_when_clean: bool = False

    def __call__(self, logits: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, ""]:
        """Return the mean over the batch's prompts, in at least float32.

        Raises:
            UsageError: if the function returns neither one number per prompt nor a single one.
        """
        return self.values(logits, batch).mean()

    def values(self, logits: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, "*batch"]:
        """Return one number per prompt, or their mean if the function gives no more, in at least float32.

        Raises:
            UsageError: if the function returns neither one number per prompt nor a single one.
        """
        value = self.judge(logits.to(torch.promote_types(logits.dtype, torch.float32)), batch)
        if not isinstance(value, Tensor) or value.shape not in ((), (len(batch),)) or not value.is_floating_point():
            got = f"{list(value.shape)} {value.dtype}" if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(
                f"metric {self.name!r} must return one number per prompt, a tensor [batch={len(batch)}], "
                f"or their mean; got {got}"
            )
        return value


def as_metric(function: Judge) -> Metric:
    """Turn a user's function of ``(logits, batch)`` into a metric."""
    if not callable(function):
        raise UsageError(f"a metric is a name or a function of (logits, batch), got {function!r}")
    name = getattr(function, "__name__", type(function).__name__)
    return Metric(name, "a function given by the user", function)


def over_answers(values: Float[Tensor, "batch vocab"], ids: Int[Tensor, "batch n"]) -> Float[Tensor, "batch"]:
    """Average ``values`` over each prompt's ids, whose number may vary; zero for a prompt without ids."""
    there = ids != NO_ANSWER
    picked = values.gather(1, ids.clamp_min(0)) * there
    return picked.sum(1) / there.sum(1).clamp_min(1)


def difference(values: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, "batch"]:
    """Subtract the mean over wrong answers, if the prompt has any, from the mean over right answers."""
    return over_answers(values, batch.answers) - over_answers(values, batch.wrong_answers)


def is_right(logits: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, "batch"]:
    """Return 1 where a right answer has a larger logit than all wrong ones, or than all others if none is wrong."""
    right, wrong = (
        torch.zeros_like(logits).scatter_add(1, ids.clamp_min(0), (ids != NO_ANSWER).to(logits.dtype)) > 0
        for ids in (batch.answers, batch.wrong_answers)
    )
    rivals = wrong | (~right & ~wrong.any(1, keepdim=True))
    best, other = (logits.masked_fill(~some, -torch.inf).amax(1) for some in (right, rivals))
    return (best > other).to(logits.dtype)


def minus_kl(logits: Float[Tensor, "batch vocab"], batch: Batch) -> Float[Tensor, "batch"]:
    """Return minus the Kullback–Leibler divergence of the run from the clean run, in nats; 0 if they agree."""
    if batch.clean_logits is None:
        raise UsageError("the metric 'kl' compares with the clean run, but the batch has no clean_logits; set them")
    clean = batch.clean_logits.log_softmax(-1)
    return (clean.exp() * (logits.log_softmax(-1) - clean)).sum(-1)


METRICS = (
    Metric("logit_diff", "logit of the right answers minus that of the wrong ones", difference, "logits"),
    Metric(
        "answer_logit",
        "logit of the right answers",
        lambda logits, batch: over_answers(logits, batch.answers),
        "logits",
    ),
    Metric(
        "logprob_diff",
        "log-probability of the right answers minus that of the wrong ones",
        lambda logits, batch: difference(logits.log_softmax(-1), batch),
        "nats",
    ),
    Metric(
        "prob_diff",
        "probability of the right answers minus that of the wrong ones",
        lambda logits, batch: difference(torch.softmax(logits, -1), batch),
        "probability",
    ),
    Metric("accuracy", "share of prompts with a right answer ahead of the wrong ones; it has no gradient", is_right),
    Metric(
        "kl",
        "minus the KL divergence from the clean run's predictions",
        minus_kl,
        "nats",
        needs_clean_logits=True,
        flat_when_clean=True,
    ),
)
