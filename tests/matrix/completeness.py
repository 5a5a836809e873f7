"""What integrated scores must add up to, and how far from it they are.

A gap is relative to the largest effect that changing one place has. The change of the metric itself may be close to
zero, where prompts cancel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import eap_plugin
from tests.matrix.data import PROMPTS, batch, on
from tests.matrix.expected import plain
from tests.oracle.methods import Oracle, adding


class Gaps:
    """The differences between sums of the library's scores and what the plain model does, by how finely they are taken.

    Attributes:
        change: how much L rises from the clean to the corrupt prompts.
    """

    def __init__(self, name: str, backend: str) -> None:
        """Judge the zoo's model ``name`` on a backend; within ``InFloat64``."""
        self._model, self._oracle = on(backend, name), Oracle(plain(name), name, PROMPTS)
        with torch.no_grad():
            self._clean = self._oracle.loss()
            self.change = self._oracle.loss(self._oracle.corrupt) - self._clean
        self._effects = {place: self._effect(place) for place in self._oracle.places}
        self._largest = max(abs(effect) for effect in self._effects.values())

    def of_inputs(self, steps: int) -> float:
        """Of ``eap-ig-inputs``: the edges that leave the input have all of the change of the metric."""
        scores = self._scores("eap-ig-inputs", steps=steps, rule="midpoint")
        return float(abs(scores.matrix[0].sum() - self.change) / self._largest)

    def of_masks(self, samples: int) -> float:
        """Of ``mask-gradient``: all edges have all of it, by the trapezoid rule, which halves the end points."""
        mean = self._scores("mask-gradient", samples=samples).matrix.sum()
        ends = [self._scores("mask-gradient", mask=mask).matrix.sum() for mask in (0.0, 1.0)]
        trapezoid = ((samples + 1) * mean - (ends[0] + ends[1]) / 2) / samples
        return float(abs(trapezoid - self.change) / self._largest)

    def of_places(self, steps: int) -> float:
        """Of ``eap-ig-activations``: the edges that leave a place have what changing it alone does."""
        scores = self._scores("eap-ig-activations", steps=steps, rule="midpoint", level="node")
        sums: dict[str, Tensor] = {}
        for source, row in scores.graph.rows.items():
            place = source.partition(".")[0]
            sums[place] = sums.get(place, torch.zeros(())) + scores.matrix[row]
        return float(max(abs(sums[place] - effect) for place, effect in self._effects.items()) / self._largest)

    def _effect(self, place: str) -> Tensor:
        """How much L rises when what a place adds is changed, and nothing else."""
        with torch.no_grad(), adding(self._oracle.model, self._oracle.layout, place, self._oracle.way(place)):
            return self._oracle.loss() - self._clean

    def _scores(self, algorithm: str, **options: Any) -> Any:
        return eap_plugin.prune_scores(self._model, [batch("none")], algorithm=algorithm, **options)
