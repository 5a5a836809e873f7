"""Measurements of circuits on prompts that are divided among processes.

The prompts are cut into parts as for scoring (``runner.requests``). The processes take turns at the parts, and all
receive the measurements of all prompts. As the parts depend on the data alone, these have the same bits on any number
of processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch

from eap_plugin.algorithm.base import Progress
from eap_plugin.circuits.evaluation.program import Measured, PatchedRun
from eap_plugin.data.microbatches import Microbatch, n_pairs
from eap_plugin.interventions.counterfactual import Ablation
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.batch_size import FittingSize
from eap_plugin.runner.evaluation import evaluate_runs
from eap_plugin.runner.ranks import Ranks
from eap_plugin.runner.requests import nothing
from eap_plugin.runner.shared_prefixes import Sharing

_REFERENCE_PASSES = 2
"""The passes on each microbatch besides those of circuits: the clean and the corrupt run."""


@dataclass(frozen=True)
class Evaluator:
    """Measures circuits on the same prompts, in the same way.

    Attributes:
        model: the model, in this process or on a server.
        parts: the prompt pairs, each part run by one process.
        size: the maximum number of prompt pairs to run at a time; see ``evaluate_runs``.
        metric: the metric.
        ablation: what flows along edges that are not in a circuit.
        share_prefix: whether the positions that clean and corrupt prompts have in common may be run once.
        keep_order: whether the metric may depend on which prompts it sees together, and in what order.
        ranks: the processes.
    """

    model: ResidualModel
    parts: Sequence[Sequence[Microbatch]]
    size: int | FittingSize | None
    metric: Metric
    ablation: Ablation
    share_prefix: bool
    keep_order: bool
    ranks: Ranks

    @property
    def n_prompts(self) -> int:
        """The number of prompt pairs."""
        return sum(map(n_pairs, self.parts))

    def measure(self, runs: Sequence[PatchedRun], progress: Progress = nothing) -> Measured:
        """Measure circuits.

        Args:
            runs: the circuits.
            progress: called with the fraction of the work that is done since the last call; not on a server.
        """
        found = []
        for start in range(0, len(self.parts), self.ranks.size):
            together = self.parts[start : start + self.ranks.size]
            share = sum(map(n_pairs, together)) / self.n_prompts
            work = partial(self._run, together, runs, partial(_scaled, progress, share))
            found += [part for part in self.ranks.gather(work) if part is not None]
        return _joined(found)

    def _run(
        self, together: Sequence[Sequence[Microbatch]], runs: Sequence[PatchedRun], progress: Progress
    ) -> Measured | None:
        """Measure this process's one of the parts that are run at the same time, if there is one for it."""
        if self.ranks.rank >= len(together):
            return None
        shares = self.share_prefix and self.ablation == "corrupt"
        sharing = Sharing(len(runs) + _REFERENCE_PASSES if shares else 0, self.keep_order, count_checks=False)
        tick = nothing if self.model.remote else progress
        part = together[self.ranks.rank]
        return self.model.run(evaluate_runs, part, self.size, runs, self.metric, self.ablation, sharing, tick)


def _scaled(progress: Progress, scale: float, fraction: float = 1.0) -> None:
    progress(scale * fraction)


def _joined(parts: Sequence[Measured]) -> Measured:
    """Return the measurements of parts of the prompts as those of all."""
    return Measured(
        clean=torch.cat([part.clean for part in parts]),
        corrupt=torch.cat([part.corrupt for part in parts]),
        empty=torch.cat([part.empty for part in parts]),
        circuits=torch.cat([part.circuits for part in parts], 1),
        per_prompt=all(part.per_prompt for part in parts),
        whole_error=max(part.whole_error for part in parts),
        empty_error=max(part.empty_error for part in parts),
    )
