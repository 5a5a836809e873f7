"""Faithfulness and its areas, with confidence intervals from resampled prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.circuits.evaluation.program import Measured

CONFIDENCE = 0.95
"""The share of resamples that an interval contains, and of random circuits that a band contains."""


class Interval(NamedTuple):
    """A range of values."""

    low: float
    high: float


class Area(NamedTuple):
    """The area of a faithfulness curve, with its confidence interval if the metric is known for each prompt."""

    value: float
    interval: Interval | None


class Faithfulness:
    """The faithfulness of all runs of an evaluation, on the prompts and on resamples of them.

    It is (m(run) − m(empty)) / (m(clean) − m(empty)), where m is the mean of the metric over prompts. A resample draws
    as many prompts as there are, with replacement, the same for all runs (percentile bootstrap, Efron 1979).

    Attributes:
        values: on the prompts themselves, [runs].
    """

    def __init__(self, measured: Measured, resamples: int, seed: int) -> None:
        """Compute them; without resamples if the metric is not known for each prompt."""
        rows = torch.cat([measured.clean[None], measured.empty[None], measured.circuits])
        self.values = _faithfulness(rows.mean(1))
        n = rows.shape[1]
        self._sampled: Float[Tensor, "resamples runs"] | None = None
        if measured.per_prompt and resamples:
            generator = torch.Generator().manual_seed(seed)
            drawn = torch.randint(n, (resamples, n), generator=generator)
            counts = torch.zeros(resamples, n, dtype=rows.dtype).scatter_add_(1, drawn, torch.ones_like(drawn).double())
            self._sampled = _faithfulness(counts @ rows.T / n)

    def interval(self, run: int) -> Interval | None:
        """Return the confidence interval of a run's faithfulness; ``None`` without resamples."""
        return None if self._sampled is None else band(self._sampled[:, run])

    def area(
        self,
        formula: Callable[[Sequence[float], Float[Tensor, "*samples points"]], Float[Tensor, "*samples"]],
        fractions: Sequence[float],
        runs: Sequence[int],
    ) -> Area:
        """Return an area of the curve through some runs; ``formula`` is one of ``circuits.areas``."""
        value = float(formula(fractions, self.values[list(runs)]))
        sampled = None if self._sampled is None else formula(fractions, self._sampled[:, list(runs)])
        return Area(value, None if sampled is None else band(sampled))


def band(values: Float[Tensor, "n"]) -> Interval:
    """Return the central range that contains ``CONFIDENCE`` of the values."""
    tail = (1 - CONFIDENCE) / 2
    low, high = values.quantile(torch.tensor([tail, 1 - tail], dtype=values.dtype)).tolist()
    return Interval(low, high)


def _faithfulness(means: Float[Tensor, "*samples rows"]) -> Float[Tensor, "*samples runs"]:
    """Return the faithfulness of the rows after the first two, which are the clean and the empty run."""
    clean, empty = means[..., :1], means[..., 1:2]
    return (means[..., 2:] - empty) / (clean - empty)
