"""``eap evaluate``: how much of a behaviour circuits preserve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eap_plugin.cli.destination import check_output, overwrite_option
from eap_plugin.cli.load import ModelChoice, recorded_model_options
from eap_plugin.cli.output import json_option, print_json, stdout
from eap_plugin.cli.ranks import is_distributed, is_first, joined
from eap_plugin.cli.recorded import TaskChoice, load_evaluated, require_same_performance, require_same_prompts
from eap_plugin.cli.text_curve import text_curve
from eap_plugin.cli.work import working
from eap_plugin.errors import UsageError
from eap_plugin.host.options import build_options, parse_assignments

if TYPE_CHECKING:
    from eap_plugin.circuits.evaluation.result import Evaluation
    from eap_plugin.model.residual_model import ResidualModel
    from eap_plugin.task.task import Task

ABLATIONS = ("corrupt", "zero", "mean", "mean-per-position")


@click.command(short_help="Measure how faithful circuits are.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--sizes", metavar="LIST", help="Sizes to select: 'mib', or numbers and shares, such as 20,0.1,0.5.")
@click.option("--method", help="Selection method for scores (see eap selections); by default top.")
@click.option("-O", "assignments", multiple=True, metavar="NAME=VALUE", help="Set an option of the method; repeatable.")
@click.option("--signed/--absolute", default=None, help="Select by score, or by absolute score; by default, both.")
@click.option(
    "--ablation",
    type=click.Choice(ABLATIONS),
    default="corrupt",
    show_default=True,
    help="What flows along all edges outside the circuit.",
)
@click.option("--ablation-task", metavar="TASK", help="Task (name or file) over which --ablation mean takes means.")
@click.option("--complement", is_flag=True, help="Ablate the circuit, and nothing else.")
@click.option("--random", type=click.IntRange(min=0), default=0, metavar="N", help="Also evaluate N random circuits.")
@click.option("--tests", is_flag=True, help="Make hypothesis tests on the circuit, which run hundreds of others.")
@click.option("--metric", "-m", help="Metric (see eap metrics); by default, the one that FILE records.")
@click.option("--task", "-t", help="Task or file of prompts; by default, the prompts that FILE records.")
@click.option("--prompts", "-n", type=click.IntRange(min=1), metavar="N", help="Number of prompt pairs to use.")
@click.option("--seed", type=int, help="Seed for generating the task's prompts.")
@click.option("--bos/--no-bos", default=None, help="Prepend the tokenizer's BOS token to prompts.")
@click.option("--format", "file_format", help="Format of the prompt file; detected by default.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of prompt pairs to run at once; by default as many as fit in memory.",
)
@click.option(
    "--share-prefix/--no-share-prefix",
    default=True,
    help="Run what clean and corrupt prompts have in common at their start only once, where possible (default).",
)
@recorded_model_options
@click.option("--anyway", is_flag=True, help="Go on if model or prompts are not those that FILE records.")
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Save the evaluation to this JSON file.")
@overwrite_option
@json_option
def evaluate(
    choice: Callable[[Any], ModelChoice],
    file: Path,
    sizes: str | None,
    method: str | None,
    assignments: Sequence[str],
    signed: bool | None,
    ablation: Any,
    ablation_task: str | None,
    complement: bool,
    random: int,
    tests: bool,
    metric: str | None,
    batch_size: int | None,
    share_prefix: bool,
    anyway: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    **task_options: Any,
) -> None:
    """Measure how much of a behaviour the circuit in FILE preserves, or circuits of several sizes from scores in FILE.

    The model runs with every edge outside the circuit ablated. Faithfulness is 1 if the circuit behaves like the model,
    and 0 if it does no better than a circuit without edges. Model, prompts and metric are those that FILE records,
    unless given.

    To split the prompts among N processes: torchrun --nproc-per-node N -m eap_plugin evaluate FILE ...
    """
    check_output(output, overwrite)
    with working(is_first() and not as_json) as work:
        from eap_plugin import api
        from eap_plugin.circuits.circuit import Circuit

        work.step("Loading the model")
        what = load_evaluated(file)
        about = what.metadata
        selection = _selection(isinstance(what, Circuit), sizes, method, signed, assignments)
        if name := selection.get("method"):
            build_options(api.selections()[name].options, dict(parse_assignments(assignments)), name)
        judge = metric or about.get("metric", "logit_diff")
        _ = api.metrics()[judge]
        chosen = choice(about)
        tasks = TaskChoice(**task_options)
        with joined() as ranks:
            model, task, other = ranks.agree(lambda: _load(chosen, tasks, about, ablation_task))
            if not (anyway or tasks.changed):
                require_same_prompts(about, task)
            work.step("Evaluating", "runs")
            found = api.evaluate(
                model,
                task,
                what,
                metric=judge,
                ablation=ablation,
                ablation_data=other,
                complement=complement,
                random=random,
                tests=tests,
                batch_size=batch_size or "auto",
                progress=work.advance,
                timeout=chosen.timeout,
                status=work.tell,
                distributed=is_distributed(),
                share_prefix=share_prefix,
                **selection,
            )
    if not is_first():
        return
    if not anyway:
        require_same_performance(about, found)
    if output is not None:
        found.save(output)
    _print(found, output, as_json)


def _load(
    chosen: ModelChoice, tasks: TaskChoice, about: Mapping[str, Any], ablation_task: str | None
) -> tuple[ResidualModel, Task, Task | None]:
    from eap_plugin import api

    model = chosen.load()
    return model, tasks.load(model, about), None if ablation_task is None else api.load_task(ablation_task, model)


def _selection(
    given: bool, sizes: str | None, method: str | None, signed: bool | None, assignments: Sequence[str]
) -> dict[str, Any]:
    """Return the arguments that select circuits from scores; a given circuit takes none."""
    chosen = {"sizes": None if sizes is None else _sizes(sizes), "method": method, "signed": signed}
    found = {name: value for name, value in chosen.items() if value is not None} | dict(parse_assignments(assignments))
    if given and found:
        raise UsageError(
            "nothing is selected, as the file holds a circuit; leave out --sizes, --method, --signed and -O"
        )
    return found if given else {"method": "top"} | found


def _sizes(text: str) -> str | list[int | float]:
    if text == "mib":
        return text
    try:
        return [float(part) if "." in part else int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"sizes are numbers and shares, such as 20,0.1,0.5, or 'mib'; got {text!r}") from None


def _print(found: Evaluation, output: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({**found.to_dict(), "output": None if output is None else str(output)})
        return
    console = stdout()
    about = found.metadata
    console.print(
        f"{about['metric']} of {about['model']} on {about['n_prompts']} prompt pairs of {about['task']}: "
        f"{float(found.clean.mean()):.4g} clean, {float(found.empty.mean()):.4g} for the circuit without edges\n",
        soft_wrap=True,
    )
    console.print(found.table(), soft_wrap=True)
    if console.is_terminal and (curve := text_curve(found, console.width, console.encoding)):
        console.print(f"\n{curve}", soft_wrap=True)
    console.print(
        f"\n{f'Saved to {output}' if output is not None else 'Not saved; to keep it, add -o eval.json'}", soft_wrap=True
    )
