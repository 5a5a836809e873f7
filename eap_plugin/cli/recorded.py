"""The task, metric and performance that a file of scores or a circuit records, and whether they are the same now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eap_plugin.cli.output import number
from eap_plugin.errors import UsageError

if TYPE_CHECKING:
    from eap_plugin.circuits.circuit import Circuit
    from eap_plugin.circuits.evaluation.result import Evaluation
    from eap_plugin.model.residual_model import ResidualModel
    from eap_plugin.results.node_scores import NodeScores
    from eap_plugin.results.prune_scores import PruneScores
    from eap_plugin.task.task import Task

_AGREEMENT = 0.01
"""The largest difference of the metric on the same prompts, as a share of its difference from clean to corrupt."""

_GO_ON = "to go on, add --anyway"


@dataclass(frozen=True)
class TaskChoice:
    """A task as options give it; ``None`` for what the file records."""

    task: str | None
    prompts: int | None
    seed: int | None
    bos: bool | None
    file_format: str | None

    def load(self, model: ResidualModel, about: Mapping[str, Any]) -> Task:
        """Load the task, as recorded unless an option says otherwise.

        Raises:
            UsageError: if the file does not record its task, and none is given.
        """
        from eap_plugin import api

        source = {} if self.task is not None else about.get("task_source") or {}
        name = self.task or source.get("name")
        if name is None:
            raise UsageError("the file does not record how its prompts were made; give a task with --task")
        given = {"n_prompts": self.prompts, "seed": self.seed, "prepend_bos": self.bos, "format": self.file_format}
        known = {key: source[key] for key in given if source.get(key) is not None}
        return api.load_task(name, model, **known | {key: value for key, value in given.items() if value is not None})

    @property
    def changed(self) -> bool:
        """Whether any option of the task was given."""
        return any(value is not None for value in vars(self).values())


def load_evaluated(path: Path) -> Circuit | PruneScores | NodeScores:
    """Read scores, or a circuit if the file has no scores, in any format."""
    from eap_plugin.api.files import load

    return load(path).main


def require_same_prompts(about: Mapping[str, Any], task: Task) -> None:
    """Stop unless the prompts are those that the file's scores were computed on.

    Raises:
        UsageError: if they are not.
    """
    if about.get("task_digest") not in (None, task.digest):
        raise UsageError(
            f"these {len(task)} prompt pairs of {task.name} are not those that the file's scores were computed on; "
            f"name other prompts with --task, or {_GO_ON}"
        )


def require_same_performance(about: Mapping[str, Any], found: Evaluation) -> None:
    """Stop unless the model does as well on the same prompts as when the file's scores were computed.

    Raises:
        UsageError: if it does not, which means that it has other weights.
    """
    same = all(found.metadata[name] == about.get(name) for name in ("task_digest", "metric"))
    before, now = about.get("clean_metric"), float(found.clean.mean())
    if same and before is not None:
        scale = abs(before - about["corrupt_metric"])
        if not abs(now - before) <= _AGREEMENT * scale:
            raise UsageError(
                f"{about['metric']} on the clean prompts is {number(now)}, but was {number(before)} when the file's "
                f"scores were computed: this is not the same model, or it is run differently; {_GO_ON}"
            )
