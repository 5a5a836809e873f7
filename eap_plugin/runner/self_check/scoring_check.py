"""The self-check of a scoring run, on a run of the model that the algorithm makes anyway.

1. The model's forward passes are observed while the algorithm runs (``ResidualModel.observer``). Each of the first few
   that take gradients is recorded, until one was plain and was followed by a backward pass to the embedding. If that
   run continues from a prefix, a prompt's first token is taken from the run of a prefix.
2. Its recorded values and gradients are compared before the next forward pass, or when the algorithm is done.
3. If that comparison fails, or if the algorithm has made no such run, the self-check makes runs of its own, and its
   report is the one that counts. So an algorithm cannot cause a refusal, and messages do not depend on the algorithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import torch

from eap_plugin.data.prompts import Prompts
from eap_plugin.model.residual_model import Forward, ResidualModel
from eap_plugin.model.sites import Site, Visitor
from eap_plugin.runner.self_check.backward_check import gradient_sites
from eap_plugin.runner.self_check.forward_check import at_first_tokens, value_sites
from eap_plugin.runner.self_check.observed_run import ObservedRun
from eap_plugin.runner.self_check.self_check import CheckReport, compare, self_check

MOST_RUNS = 8
"""The forward passes of an algorithm after which the self-check no longer waits for a suitable one."""


class ScoringCheck:
    """The self-check of one model while an algorithm runs on it."""

    def __init__(self, model: ResidualModel, prompts: Prompts) -> None:
        """Prepare to check ``model``; ``prompts`` are those of the check's own runs."""
        self._model, self._prompts = model, prompts
        self._n_runs = 0
        self._run: ObservedRun | None = None
        self._prefix: ObservedRun | None = None
        self._report: CheckReport | None = None

    def observing(self) -> _Observing:
        """Return a context in which the model's forward passes are observed."""
        return _Observing(self._model, self)

    def report(self) -> CheckReport:
        """Check the model if that was not done yet, and return the report.

        Raises:
            EapPluginError: if the model's logits have no gradient.
        """
        if self._report is None:
            self._model.observer = None
            self._report = self._from_run() or self_check(self._model, self._prompts)
        return self._report

    def __call__(self, forward: Forward, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Any:
        """Make a forward pass of the algorithm, recorded if need be; see ``ResidualModel.observer``.

        Raises:
            EapPluginError: if the check was done before this pass, and failed.
        """
        if self._n_runs == MOST_RUNS or (self._run is not None and self._run.complete):
            self.report().raise_if_failed()
            return forward(prompts, visit)
        if forward == self._model._prefix:
            self._prefix = ObservedRun(prompts, ("v", "z"), ())
            return forward(prompts, self._prefix.visitors(visit))
        self._n_runs += 1
        values, gradients = value_sites(self._model), gradient_sites(self._model)
        if not torch.is_grad_enabled() or not {*values, *gradients} <= self._model.sites:
            return forward(prompts, visit)
        self._run = ObservedRun(prompts, {*values, *gradients}, gradients)
        return forward(prompts, self._run.visitors(visit))

    def _from_run(self) -> CheckReport | None:
        """Return the report on the algorithm's own run; ``None`` if there was none, or it fails."""
        run = self._run
        if run is None or not run.complete:
            return None
        beginning = self._prefix if run.has_prefix else run
        if beginning is None or not beginning.n_tokens:
            return None
        with torch.no_grad():
            lengths = torch.tensor([beginning.n_tokens], device=self._model.device)
            firsts = at_first_tokens(self._model, beginning.values, lengths)
            prompts = self._prompts.to(self._model.device)
            report = compare(self._model, prompts, run.values, run.gradients, firsts)
        return report if report.ok else None


class _Observing:
    """A context in which a check observes a model."""

    def __init__(self, model: ResidualModel, check: ScoringCheck) -> None:
        self._model, self._check = model, check

    def __enter__(self) -> None:
        self._model.observer = self._check

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._model.observer = None
