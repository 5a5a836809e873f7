"""The self-check: do edge scores mean anything on this model?

Four things must hold on one prompt:

1. *Writers.* At every reader, the residual stream is what it was at the reader before, plus what heads and MLPs in
   between are said to add. So it is the sum of all writers.
2. *Readers.* Norm and projection, as formulas of the residual stream, give the model's own q, k, v and MLP inputs.
   Which head is which shows at the first token, where attention has nothing to choose from: a head's z must be a
   multiple of the v that it is said to read.
3. *Nothing else reads.* The gradient that arrives at the residual stream is the sum of what the known readers send
   back: see ``backward_check``.
4. *The model is the user's.* Where a backend computes a model anew, its logits are those of the original.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isnan

import torch
from torch import Tensor

from eap_plugin.data.prompts import Prompts
from eap_plugin.errors import CannotCompareError, EapPluginError
from eap_plugin.interventions.recording import make_differentiable, merge
from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.model.residual_model import ResidualModel, SourceComparison
from eap_plugin.model.sites import Site
from eap_plugin.runner.self_check.backward_check import arrivals, gradient_sites, random_loss
from eap_plugin.runner.self_check.forward_check import comparisons, value_sites
from eap_plugin.runner.self_check.other_readers import other_readers

Values = dict[tuple[Site, int], Tensor]
"""By site and layer, at the real tokens of all prompts: [1, tokens, ...]."""

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest residue that rounding explains, for half precision; ``FULL_TOLERANCE`` for the others."""

FULL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class CheckRow:
    """One comparison.

    Attributes:
        layer: the layer.
        what: ``writers`` reaching attention, MLP or logits; the ``reader`` q, k, v or MLP; the ``heads`` of v; the
            ``gradient`` reaching attention, MLP, block or logits; or the ``logits``.
        residue: largest difference of a number, over its own size and the root mean square of its token's.
        cause: what a residue that is too large means here, and what to do, if that can be said.
    """

    layer: int
    what: str
    residue: float
    cause: str = ""

    @property
    def severity(self) -> tuple[bool, float]:
        """The residue as something to sort by: one that is no number is the worst."""
        return isnan(self.residue), self.residue


@dataclass(frozen=True)
class CheckReport:
    """The self-check of one model, row by row: the forward pass in its order, the backward pass, the logits.

    Attributes:
        model: its name.
        rows: the comparisons.
        tolerance: the largest residue that rounding explains.
        unchecked: what could not be checked, and why; empty if nothing.
    """

    model: str
    rows: tuple[CheckRow, ...]
    tolerance: float
    unchecked: str = ""

    @property
    def worst(self) -> CheckRow:
        """The row with the largest residue."""
        return max(self.rows, key=lambda row: row.severity)

    @property
    def ok(self) -> bool:
        """Whether every residue is within the tolerance."""
        return not self.failing

    @property
    def failing(self) -> list[CheckRow]:
        """The rows that are not, in their order; a residue that is no number is one of them."""
        return [row for row in self.rows if not row.residue <= self.tolerance]

    def raise_if_failed(self) -> None:
        """Refuse the model.

        Raises:
            EapPluginError: naming the first layer that fails, and its number.
        """
        if self.failing:
            first = self.failing[0]
            cause = f"{first.cause}; " if first.cause else ""
            raise EapPluginError(
                f"the self-check fails on {self.model} at layer {first.layer}, {first.what}: "
                f"residue {first.residue:.2g}, allowed {self.tolerance:.2g}; {cause}"
                f"edge scores would not mean what they say, so none were computed"
            )


def self_check(model: ResidualModel, prompts: Prompts) -> CheckReport:
    """Compare writers and readers with the model's own activations and gradients; for ``model.run``.

    Args:
        model: the model, frozen.
        prompts: a prompt, or a few.

    Raises:
        EapPluginError: if the model's logits have no gradient.
    """
    prompts = prompts.to(model.device)
    tolerance = TOLERANCE.get(model.dtype, FULL_TOLERANCE)
    seen, gradients = _watch(model, prompts)
    with torch.no_grad():
        rows = [
            CheckRow(layer, what, _residue(said, found))
            for layer, what, said, found in comparisons(model, seen, prompts.real.sum(1))
        ]
        for arrival in arrivals(model, seen, gradients):
            row = CheckRow(arrival.layer, f"gradient reaching {arrival.reader}", _residue(*arrival[2:]))
            if not row.residue <= tolerance and all(earlier.residue <= tolerance for earlier in rows):
                row = replace(row, cause=_unknown_reader(model, prompts, arrival.layer))
            rows.append(row)
        try:
            source = model.compare_with_source(prompts)
        except CannotCompareError as error:
            return CheckReport(model.name, tuple(rows), tolerance, str(error))
    if source is not None:
        rows.append(CheckRow(model.graph.n_layers - 1, "logits", source.residue, _other_logits(source)))
    return CheckReport(model.name, tuple(rows), tolerance)


def _watch(model: ResidualModel, prompts: Prompts) -> tuple[Values, Values]:
    """The values and the gradients at the sites that are compared, in at least float32; from one pass."""
    recorder, wanted = SiteRecorder(), gradient_sites(model)
    values, sites = recorder.values, {*value_sites(model), *wanted}
    visit = recorder.visitors(*sites) | merge({"embed": make_differentiable}, recorder.visitors("embed"))
    with torch.enable_grad():
        logits = model.forward(prompts, visit)
        loss = random_loss(logits)
    if not loss.requires_grad:
        raise EapPluginError(
            f"no gradient goes back from the logits of {model.name} to its embedding, so edges cannot be checked or "
            f"scored; load it without quantization, and without torch.no_grad in its forward pass"
        )
    places = [place for place in values if place[0] in wanted]
    found = torch.autograd.grad(loss, [values[place] for place in places], allow_unused=True)

    def at_real_tokens(x: Tensor) -> Tensor:
        return x.detach()[prompts.real][None].to(torch.promote_types(x.dtype, torch.float32))

    gradients = {
        place: at_real_tokens(torch.zeros_like(values[place]) if gradient is None else gradient)
        for place, gradient in zip(places, found, strict=True)
    }
    return {place: at_real_tokens(value) for place, value in values.items()}, gradients


def _residue(said: Tensor, found: Tensor) -> float:
    """The largest difference of a number, over its own size and the root mean square of its token's."""
    size = found.pow(2).mean(-1, keepdim=True).sqrt() + said.abs() + found.abs()
    return float(((said - found).abs() / size.clamp_min(torch.finfo(found.dtype).tiny)).max())


def _unknown_reader(model: ResidualModel, prompts: Prompts, layer: int) -> str:
    """What a gradient means that the graph's readers do not explain."""
    names = [] if model.remote else other_readers(model, prompts, layer)
    return (
        f"something besides q, k, v, the MLP and the logits reads the residual stream"
        f"{': ' if names else ''}{', '.join(names)}; the graph of edges does not have it"
    )


def _other_logits(source: SourceComparison) -> str:
    """What different logits mean, and what to do."""
    return (
        f"{source.backend} gives a logit of {source.here:.4g} where the {source.original} in it gives "
        f"{source.there:.4g}, so it computes another function; {source.advice}"
    )
