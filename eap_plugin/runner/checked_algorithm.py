"""Checks on what an algorithm returns and leaves changed; an error names the plugin at fault and what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from eap_plugin.algorithm.base import Attribution, Progress
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.errors import EapPluginError, blaming
from eap_plugin.metric.metric import Metric
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.module_state import ModuleState
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.finite import cause


@dataclass(frozen=True)
class CheckedAlgorithm:
    """An algorithm's ``attribute`` with checks around it; it runs wherever ``attribute`` does.

    Attributes:
        attribute: the ``attribute`` method of the algorithm.
        origin: the algorithm, its plugin and the plugin's version, as named in error messages.
        advice: what the user can do if the algorithm is at fault.
        keeps_groups: whether it returns sums over groups of prompts itself; see ``Algorithm``.
        additive: whether the scores of all data are the sums of those of its parts; see ``Algorithm``.
    """

    attribute: Callable[..., Attribution]
    origin: str
    advice: str
    keeps_groups: bool = False
    additive: bool = True

    def __call__(
        self,
        model: ResidualModel,
        data: Sequence[Microbatch],
        metric: Metric,
        options: Any,
        progress: Progress,
    ) -> Attribution:
        """See ``Algorithm.attribute``.

        Raises:
            EapPluginError: if it does not return valid scores of this model, or leaves the model changed.
        """
        before = ModuleState(model.modules())
        try:
            with blaming(self.origin):
                found = self.attribute(model, data, metric, options, progress)
        finally:
            changes = before.restore()
        if changes:
            more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
            raise self._fault(f"left the model changed ({changes[0]}{more}; everything was restored)")
        self._check(found, model)
        self._check_finite(found.matrix, model, data, metric)
        return found

    def _check(self, found: object, model: ResidualModel) -> None:
        if not isinstance(found, Attribution) or not isinstance(found.matrix, Tensor):
            raise self._fault(f"returned {_described(found)}, not an Attribution with a matrix of scores")
        if found.graph not in (model.graph, replace(model.graph, summed_qkv=True)):
            raise self._fault(f"returned scores of a graph other than that of {model.name}")
        for value in (found.clean_metric, found.corrupt_metric):
            if not isinstance(value, (float, int, type(None))):
                raise self._fault(f"returned the metric as {_described(value)}, not as a number")
        if wrong := _wrong_scores(found, model) or _wrong_groups(found):
            raise self._fault(f"returned {wrong}")

    def _check_finite(self, matrix: Tensor, model: ResidualModel, data: Sequence[Microbatch], metric: Metric) -> None:
        lost = int((~matrix.isfinite()).sum())
        if not lost:
            return
        if found := cause(model, data, metric):
            raise EapPluginError(found)
        raise self._fault(
            f"returned scores that are not finite ({lost} of {matrix.numel()}) on {model.name} ({model.dtype}); "
            f"try another metric, or load the model in float32 if it is in half precision"
        )

    def _fault(self, what: str) -> EapPluginError:
        return EapPluginError(f"{self.origin} {what}; {self.advice}")


def _wrong_scores(found: Attribution, model: ResidualModel) -> str | None:
    """Describe what is wrong with the scores; ``None`` if nothing is."""
    matrix, graph = found.matrix, found.graph
    sources = {"sources": len(graph.sources)}
    levels: dict[str, dict[str, int]] = {
        "edge": {**sources, "readers": len(graph.readers)},
        "node": sources,
        "neuron": {**sources, "d_model": model.layers[0].W_O.shape[-1]},
    }
    if found.level not in levels:
        return f"scores of level {found.level!r}, not of {', '.join(levels)}"
    axes = levels[found.level]
    if matrix.ndim - len(axes) not in (0, 1) or list(matrix.shape[-len(axes) :]) != list(axes.values()):
        expected = ", ".join(f"{axis}={size}" for axis, size in axes.items())
        return f"{found.level} scores of shape {list(matrix.shape)}, not [{expected}] (optionally with positions first)"
    if not matrix.is_floating_point():
        return f"scores of type {matrix.dtype}, not of a floating-point type"
    finite = matrix.nan_to_num(0, 0, 0)
    if found.level == "edge" and bool(finite.masked_fill(edge_mask(graph).to(matrix.device), 0).any()):
        return "a score where there is no edge"
    return None


def _wrong_groups(found: Attribution) -> str | None:
    """Describe what is wrong with the sums over groups; ``None`` if nothing is, or there are none."""
    if found.groups is None:
        return None
    if found.groups.shape[1:] != found.matrix.shape:
        return f"sums over groups of shape {list(found.groups.shape)}, not [groups, {str(list(found.matrix.shape))[1:]}"
    total, largest = found.groups.sum(0), float(found.matrix.abs().max())
    if not torch.allclose(total, found.matrix, rtol=0, atol=1e-4 * largest, equal_nan=True):
        return "sums over groups of prompts that do not add up to its scores"
    return None


def _described(thing: object) -> str:
    return f"a {type(thing).__module__}.{type(thing).__name__}"
