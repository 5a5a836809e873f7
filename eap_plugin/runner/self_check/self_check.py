"""The self-check: does the graph of edges describe what this model computes?

On one prompt, four things must hold:

1. *Writers.* At every reader, the residual stream is its value at the previous reader plus the outputs of the heads and
   MLPs in between. So it is the sum of all writers before the reader.
2. *Readers.* Norm and projection, as formulas of the residual stream, give the model's own q, k, v and MLP inputs. At
   the first token, each head's z is a multiple of the v of its key/value head: see ``forward_check``.
3. *No other readers.* The gradient on the residual stream is the sum of the gradients through the known readers: see
   ``backward_check``.
4. *The user's model.* If a backend reimplements a model, its logits are those of the original.

Each comparison gives a residue, the largest relative difference. The check passes if every residue is so small that
rounding explains it; otherwise the first one that is not tells the layer and the reason.
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
from eap_plugin.model.residues import residues
from eap_plugin.model.sites import Site
from eap_plugin.runner.nan_weights import nan_weights
from eap_plugin.runner.self_check.backward_check import arrivals, gradient_sites, random_loss
from eap_plugin.runner.self_check.forward_check import at_first_tokens, comparisons, value_sites
from eap_plugin.runner.self_check.other_readers import other_readers

Values = dict[tuple[Site, int], Tensor]
"""By site and layer, at the real tokens of all prompts: [1, tokens, ...]."""

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""The largest residue that rounding explains, for half precision; ``FULL_TOLERANCE`` for other dtypes."""

FULL_TOLERANCE = 1e-4

GRADIENT = "gradient reaching"
"""How the rows of the backward pass are named, followed by the reader."""


@dataclass(frozen=True)
class CheckRow:
    """One comparison.

    Attributes:
        layer: the layer.
        what: ``writers`` reaching attention, MLP or logits; the ``reader`` q, k, v or MLP; the ``heads`` of v; the
            ``gradient`` reaching attention, MLP, block or logits; or the ``logits``.
        residue: the largest difference between two numbers, divided by the sum of their absolute values and of the root
            mean square over their token.
        cause: the reason for a residue above the tolerance, and what to do, if known.
    """

    layer: int
    what: str
    residue: float
    cause: str = ""

    @property
    def severity(self) -> tuple[bool, float]:
        """A sort key for residues, by which NaN is the worst."""
        return isnan(self.residue), self.residue


@dataclass(frozen=True)
class CheckReport:
    """The result of the self-check: rows for the forward pass, then the backward pass, then the logits.

    Attributes:
        model: the name of the model.
        rows: the comparisons.
        tolerance: the largest residue that rounding explains.
        unchecked: what could not be checked, and why; empty if everything was.
        prefix_fault: why runs cannot continue from a shared prefix; empty if they can, or if that was not checked.
    """

    model: str
    rows: tuple[CheckRow, ...]
    tolerance: float
    unchecked: str = ""
    prefix_fault: str = ""

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
        """The rows whose residue exceeds the tolerance or is NaN, in order."""
        return [row for row in self.rows if not row.residue <= self.tolerance]

    def raise_if_failed(self) -> None:
        """Raise an error if a residue exceeds the tolerance.

        Raises:
            EapPluginError: naming the layer and residue of the first such row.
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
    """Compare the graph's writers and readers with the model's activations and gradients; for ``model.run``.

    Args:
        model: the model, frozen.
        prompts: one or more prompts.

    Raises:
        EapPluginError: if the model's logits have no gradient.
    """
    prompts = prompts.to(model.device)
    seen, gradients = _watch(model, prompts)
    with torch.no_grad():
        firsts = at_first_tokens(model, seen, prompts.real.sum(1))
        report = compare(model, prompts, seen, gradients, firsts)
        return report if report.ok else _with_cause(report, model, prompts)


def compare(model: ResidualModel, prompts: Prompts, seen: Values, gradients: Values, firsts: Values) -> CheckReport:
    """Compare recorded values and gradients with the graph's formulas, and the model's logits with their source.

    Args:
        model: the model.
        prompts: the prompts on which to compare logits.
        seen: the values at ``value_sites``.
        gradients: the gradients at ``gradient_sites``, for the same tokens.
        firsts: the values from ``at_first_tokens``.
    """
    rows = [
        CheckRow(layer, what, float(residues(said, found).max()))
        for layer, what, said, found in comparisons(model, seen, firsts)
    ]
    rows += [
        CheckRow(layer, f"{GRADIENT} {reader}", float(residues(explained, found).max()))
        for layer, reader, explained, found in arrivals(model, seen, gradients)
    ]
    tolerance = TOLERANCE.get(model.dtype, FULL_TOLERANCE)
    try:
        source = model.compare_with_source(prompts)
    except CannotCompareError as error:
        return CheckReport(model.name, tuple(rows), tolerance, str(error))
    if source is not None:
        rows.append(CheckRow(model.graph.n_layers - 1, "logits", source.residue, _other_logits(source)))
    return CheckReport(model.name, tuple(rows), tolerance)


def _watch(model: ResidualModel, prompts: Prompts) -> tuple[Values, Values]:
    """Record values and gradients at the sites to compare, in at least float32, from one forward and backward pass."""
    recorder, wanted = SiteRecorder(), gradient_sites(model)
    values, sites = recorder.values, {*value_sites(model), *wanted}
    visit = recorder.visitors(*sites) | merge({"embed": make_differentiable}, recorder.visitors("embed"))
    with torch.enable_grad():
        logits = model.forward(prompts, visit)
        loss = random_loss(logits)
    if not loss.requires_grad:
        raise EapPluginError(
            f"no gradient flows from the logits of {model.name} to its embedding, so edges cannot be checked or "
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


def _with_cause(report: CheckReport, model: ResidualModel, prompts: Prompts) -> CheckReport:
    """Return the report with the cause of its first failing row, if that is NaN or a gradient."""
    first = report.failing[0]
    cause = nan_weights(model) if isnan(first.residue) else ""
    if not cause and first.what.startswith(GRADIENT):
        cause = _unknown_reader(model, prompts, first.layer)
    if not cause:
        return report
    named = replace(first, cause=cause)
    return replace(report, rows=tuple(named if row is first else row for row in report.rows))


def _unknown_reader(model: ResidualModel, prompts: Prompts, layer: int) -> str:
    """Say what a gradient means that the graph's readers do not explain."""
    names = [] if model.remote else other_readers(model, prompts, layer)
    return (
        f"something besides q, k, v, the MLP and the logits reads the residual stream"
        f"{': ' if names else ''}{', '.join(names)}; it is not in the graph of edges"
    )


def _other_logits(source: SourceComparison) -> str:
    """Say what different logits mean, and what to do."""
    return (
        f"{source.backend} gives a logit of {source.here:.4g} where the {source.original} in it gives "
        f"{source.there:.4g}, so it computes a different function; {source.advice}"
    )
