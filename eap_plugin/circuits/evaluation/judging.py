"""Circuits turned into runs, each distinct one once, and what was measured turned into a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from eap_plugin.circuits.areas import circuit_model_distance, circuit_performance_ratio
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.bootstrap import Faithfulness, band
from eap_plugin.circuits.evaluation.fitting import fitted
from eap_plugin.circuits.evaluation.program import Measured, PatchedRun
from eap_plugin.circuits.evaluation.result import Evaluation, Point
from eap_plugin.circuits.random_circuits import random_circuit
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.model.residual_model import ResidualModel

TOLERANCE = {torch.float16: 0.1, torch.bfloat16: 0.5}
"""The largest relative error of the whole model's logits, put together edge by edge, that rounding explains."""

FULL_TOLERANCE = 1e-3
"""The same for dtypes of at least 32 bits."""


@dataclass(frozen=True)
class Candidate:
    """A circuit to evaluate; ``Point`` describes the other attributes."""

    circuit: Circuit
    size: int
    fraction: float
    signed: bool | None = None


class Runs:
    """The distinct runs that candidates and random circuits need.

    Attributes:
        all: the runs.
    """

    def __init__(
        self, model: ResidualModel, candidates: Sequence[Candidate], complement: bool, random: int, seed: int
    ) -> None:
        """Fit all circuits to the model."""
        self.all: list[PatchedRun] = []
        self._model, self._complement = model, complement
        self._known: dict[tuple[object, ...], int] = {}
        self._candidates = candidates
        self._places = [self._place(candidate.circuit) for candidate in candidates]
        self._random = [
            [self._place(random_circuit(candidate.circuit, seed + 1 + i)) for i in range(random)]
            for candidate in candidates
        ]

    def _place(self, circuit: Circuit) -> int:
        """Return the index of a circuit's run, which is added if no equal one is there."""
        run = fitted(self._model, circuit, self._complement)
        neurons = None if run.neurons is None else run.neurons.numpy().tobytes()
        key = (run.graph, run.edges.numpy().tobytes(), neurons)
        if key not in self._known:
            self._known[key] = len(self.all)
            self.all.append(run)
        return self._known[key]

    def result(self, measured: Measured, resamples: int, seed: int, curve: bool, about: dict[str, Any]) -> Evaluation:
        """Return the evaluation.

        Args:
            measured: what ``runner.evaluator`` measured of ``all``.
            resamples: the number of resamples of prompts for intervals.
            seed: the seed of resampling.
            curve: whether the candidates are selections of several sizes from the same scores.
            about: the metadata.

        Raises:
            UsageError: if the metric does not tell the model from the empty circuit.
            EapPluginError: if patching does not reproduce the model.
        """
        _check(self._model, measured, about)
        faithfulness = Faithfulness(measured, resamples, seed)
        points = [self._point(index, measured, faithfulness, place) for index, place in enumerate(self._places)]
        areas = {}
        for name, formula, signed in (
            ("cpr", circuit_performance_ratio, True),
            ("cmd", circuit_model_distance, False),
        ):
            chosen = [i for i, point in enumerate(points) if point.signed is signed] or list(range(len(points)))
            chosen.sort(key=lambda i: points[i].fraction)
            if curve and len(chosen) > 1:
                fractions = [points[i].fraction for i in chosen]
                areas[name] = faithfulness.area(formula, fractions, [self._places[i] for i in chosen])
        clean, corrupt, empty = measured.clean, measured.corrupt, measured.empty
        return Evaluation(
            tuple(points), clean, corrupt, empty, measured.per_prompt, about, areas.get("cpr"), areas.get("cmd")
        )

    def _point(self, index: int, measured: Measured, faithfulness: Faithfulness, place: int) -> Point:
        candidate, random = self._candidates[index], faithfulness.values[self._random[index]]
        circuit = candidate.circuit
        return Point(
            size=candidate.size,
            fraction=candidate.fraction,
            signed=candidate.signed,
            n_edges=circuit.n_edges,
            n_edges_ungrouped=circuit.n_edges_ungrouped,
            weighted_edge_count=circuit.weighted_edge_count,
            metric=measured.circuits[place],
            faithfulness=float(faithfulness.values[place]),
            interval=faithfulness.interval(place),
            random_faithfulness=random,
            random_band=band(random) if len(random) else None,
        )


def _check(model: ResidualModel, measured: Measured, about: dict[str, Any]) -> None:
    tolerance = TOLERANCE.get(model.dtype, FULL_TOLERANCE)
    for what, error, expected in (
        ("the circuit of all edges", measured.whole_error, "the model on the clean prompts"),
        ("the circuit without edges", measured.empty_error, "the model with every writer replaced"),
    ):
        if not error <= tolerance:
            raise EapPluginError(
                f"{what} of {model.name} does not give the logits of {expected}: they differ by {error:.2g} of their "
                f"standard deviation, allowed {tolerance:.2g}; `eap check` shows where its edges do not hold"
            )
    clean, empty = float(measured.clean.mean()), float(measured.empty.mean())
    if clean == empty:
        raise UsageError(
            f"the metric {about.get('metric')!r} is {clean:.4g} both for the model and for the empty circuit, so "
            f"faithfulness is undefined; choose a metric, prompts or an ablation that tell them apart"
        )
