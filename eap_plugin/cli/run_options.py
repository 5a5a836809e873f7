"""The options of ``eap run``, as one value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eap_plugin.cli.parts import parts_folder
from eap_plugin.host.options import build_options, parse_assignments

if TYPE_CHECKING:
    from eap_plugin.model.residual_model import ResidualModel
    from eap_plugin.task.task import Task


@dataclass(frozen=True)
class RunOptions:
    """The options of ``eap run`` except those of its model; each field holds the option of the same name."""

    task_name: str
    algorithm: str
    metric: str
    assignments: Sequence[str]
    prompts: int
    seed: int
    bos: bool | None
    file_format: str | None
    batch_size: int | None
    max_memory: str | None
    prompts_per_request: int | None
    resume: bool
    share_prefix: bool
    ablation_task: str | None
    groups: int | None
    output: Path | None
    overwrite: bool
    top: int
    force: bool
    as_json: bool
    dry_run: bool
    quiet: bool

    @property
    def algorithm_options(self) -> dict[str, Any]:
        """The algorithm's own options, as text."""
        return dict(parse_assignments(self.assignments))

    @property
    def parts(self) -> Path | None:
        """The folder of finished parts, if the run is split."""
        return parts_folder(self.output, self.prompts_per_request, self.resume)

    def check_names(self) -> None:
        """Find mistakes in names and options before a model is loaded."""
        from eap_plugin import api

        build_options(api.algorithms()[self.algorithm].options, self.algorithm_options, self.algorithm)
        _ = api.metrics()[self.metric], api.task_source(self.task_name, self.file_format)
        if self.ablation_task is not None:
            api.task_source(self.ablation_task)

    def load_prompts(self, model: ResidualModel) -> tuple[Task, Task | None]:
        """Load the task and, if there is one, the task that means are taken over."""
        from eap_plugin import api

        same: dict[str, Any] = {"n_prompts": self.prompts, "seed": self.seed, "prepend_bos": self.bos}
        task = api.load_task(self.task_name, model, format=self.file_format, **same)
        return task, None if self.ablation_task is None else api.load_task(self.ablation_task, model, **same)
