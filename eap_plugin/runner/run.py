"""A run of an algorithm, as one value: the result of resolving a user's arguments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eap_plugin.algorithm.base import Algorithm
from eap_plugin.data.batch import Batch
from eap_plugin.metric.metric import Metric
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.batch_size import FittingSize
from eap_plugin.runner.checked_algorithm import CheckedAlgorithm
from eap_plugin.runner.shared_prefixes import Sharing


@dataclass(frozen=True)
class Run:
    """An algorithm, and all that it runs on.

    Attributes:
        model: the model, in this process or on a server.
        data: the data as the user gave it: a task, or batches of any kind.
        batches: the prompt pairs, with their groups if ``n_groups`` is not ``None``.
        reference: the batches over whose corrupt prompts means are taken; if empty, ``batches``.
        algorithm: the algorithm.
        checked: its ``attribute`` with checks around it.
        options: its options, as the user gave them.
        prepared: the same, with scores in place of the names of their files.
        metric: the metric to attribute.
        batch_size: the maximum number of prompt pairs to run at a time; ``None`` for no maximum, a ``FittingSize`` for
            as many as fit in memory.
        n_groups: the number of groups of prompts; ``None`` if prompts are not grouped.
        share_prefix: whether the positions that clean and corrupt prompts have in common may be run once.
        keep_order: whether the metric may depend on which prompts it sees together, and in what order.
    """

    model: ResidualModel
    data: object
    batches: tuple[Batch, ...]
    reference: tuple[Batch, ...]
    algorithm: Algorithm[Any]
    checked: CheckedAlgorithm
    options: Any
    prepared: Any
    metric: Metric
    batch_size: int | FittingSize | None
    n_groups: int | None = None
    share_prefix: bool = True
    keep_order: bool = False

    @property
    def sharing(self) -> Sharing:
        """How the algorithm may share prefixes with these options."""
        uses_corrupt_run = getattr(self.options, "ablation", None) == "corrupt"
        if not (self.share_prefix and self.algorithm.shares_prefix and uses_corrupt_run):
            return Sharing(passes=0)
        return Sharing(
            sum(self.algorithm.cost(self.options, self.model.graph)), self.keep_order or self.algorithm.depends_on_split
        )
