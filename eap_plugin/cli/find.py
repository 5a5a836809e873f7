"""The search of ``eap circuit --faithfulness``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from eap_plugin.cli.recorded import TaskChoice, require_same_performance
from eap_plugin.errors import UsageError

if TYPE_CHECKING:
    from eap_plugin.circuits.circuit import Circuit
    from eap_plugin.cli.load import ModelChoice
    from eap_plugin.cli.work import Work
    from eap_plugin.results.node_scores import NodeScores
    from eap_plugin.results.prune_scores import PruneScores


@dataclass(frozen=True)
class FindOptions:
    """The options of the search, besides those of the model; each field holds the option of the same name."""

    same_prompts: bool
    held_out: str | None
    task: str | None
    batch_size: int | None
    anyway: bool

    def check(self, searching: bool, sizes: Mapping[str, Any]) -> None:
        """Check that these options and a given size do not contradict each other.

        Args:
            searching: whether a faithfulness is wanted.
            sizes: the options that give a size, by name; ``None`` if not given.

        Raises:
            UsageError: if they do.
        """
        size = [f"--{name}" for name, value in sizes.items() if value is not None]
        if searching and size:
            raise UsageError(f"--faithfulness finds the size; leave out {' and '.join(size)}")
        if self.same_prompts and self.held_out is not None:
            raise UsageError("give --same-prompts or --held-out, not both")
        given = [f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value]
        if given and not searching:
            raise UsageError(f"{' and '.join(given)} can only be used with --faithfulness, which runs the model")


def find(
    scores: PruneScores | NodeScores,
    faithfulness: float,
    choice: ModelChoice,
    options: FindOptions,
    selection: dict[str, Any],
    work: Work,
) -> Circuit:
    """Find the smallest circuit that is faithful enough, and measure it on the scored prompts, too.

    Raises:
        UsageError: if model or task are not those that the scores record, or as ``api.find_circuit`` does.
    """
    from eap_plugin import api

    work.step("Loading the model")
    model = choice.load()
    source = scores.metadata.get("task_source", {})
    n_prompts, seed, bos = (source.get(name) for name in ("n_prompts", "seed", "prepend_bos"))
    task = TaskChoice(options.task, n_prompts, seed, bos, None).load(model, scores.metadata)
    work.step("Searching", "runs")
    running: dict[str, Any] = {
        "batch_size": options.batch_size or "auto",
        "timeout": choice.timeout,
        "status": work.tell,
    }
    circuit = api.find_circuit(
        model,
        task,
        scores,
        faithfulness,
        progress=work.advance,
        held_out=options.held_out,
        same_prompts=options.same_prompts,
        **running,
        **selection,
    )
    found = circuit.metadata["found"]
    work.step("Evaluating on the scored prompts")
    same = api.evaluate(model, task, circuit, metric=found["metric"], ablation=found["ablation"], **running)
    if not options.anyway:
        require_same_performance(scores.metadata, same)
    return replace(circuit, metadata=circuit.metadata | {"found": found | {"on_scored": same.faithfulness}})
