"""``eap run``: score the edges of a model on a task."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eap_plugin.cli.destination import check_output, overwrite_option
from eap_plugin.cli.edges import edges_table, scores_json
from eap_plugin.cli.estimate import tell_estimate
from eap_plugin.cli.load import ModelChoice, model_options
from eap_plugin.cli.output import json_option, print_json, stdout, top_option
from eap_plugin.cli.parts import keeping
from eap_plugin.cli.ranks import is_distributed, is_first, joined
from eap_plugin.cli.run_options import RunOptions
from eap_plugin.cli.verdict import report_dropped, require_behaviour, summary
from eap_plugin.cli.work import Work, working

if TYPE_CHECKING:
    from eap_plugin.model.residual_model import ResidualModel
    from eap_plugin.results.node_scores import NodeScores
    from eap_plugin.results.prune_scores import PruneScores
    from eap_plugin.runner.cost_estimate import Estimate
    from eap_plugin.task.task import Task


@click.command(short_help="Score every edge of a model on a task.")
@click.option("--task", "-t", "task_name", required=True, help="Name of a task (see eap tasks), or a file of prompts.")
@click.option("--algorithm", "-a", default="eap", show_default=True, help="Scoring algorithm (see eap algorithms).")
@click.option("--metric", "-m", default="logit_diff", show_default=True, help="Metric to attribute (see eap metrics).")
@click.option(
    "-O", "assignments", multiple=True, metavar="NAME=VALUE", help="Set an option of the algorithm; repeatable."
)
@click.option(
    "--prompts",
    "-n",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Number of prompt pairs to use.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed for generating the task's prompts.")
@click.option(
    "--bos/--no-bos", default=None, help="Prepend the tokenizer's BOS token to prompts; by default, as the model does."
)
@click.option("--format", "file_format", help="Format of the prompt file; detected by default.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Number of prompt pairs to run at once; by default as many as fit in memory.",
)
@click.option("--max-memory", metavar="SIZE", help="Most memory to use beside the model, such as 4GB.")
@click.option(
    "--prompts-per-request",
    type=click.IntRange(min=1),
    metavar="N",
    help="Split the run into parts of N prompt pairs, and save finished parts next to --output.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted run from its finished parts.")
@click.option(
    "--share-prefix/--no-share-prefix",
    default=True,
    help="Run what clean and corrupt prompts have in common at their start only once, where possible (default).",
)
@click.option("--ablation-task", metavar="TASK", help="Task (name or file) over which -O ablation=mean takes means.")
@click.option(
    "--groups",
    type=click.IntRange(min=2),
    metavar="K",
    help="Keep sums of scores over K groups of prompts, for standard errors.",
)
@model_options
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Save the scores to this safetensors file.")
@overwrite_option
@top_option
@click.option("--force", is_flag=True, help="Report scores even if the model does not do the task.")
@json_option
@click.option("--dry-run", is_flag=True, help="Only estimate how long the run would take, from one timed pass.")
@click.option("--quiet", "-q", is_flag=True, help="Print only results and errors.")
def run(choice: ModelChoice, **given: Any) -> None:
    """Score every edge of MODEL on a task, and list the strongest.

    MODEL is a shipped model (ioi-gpt2 or ioi-llama), a folder that save_pretrained wrote, or a name on the
    Hugging Face hub. A positive score means that corrupting this edge alone lowers the metric.

    To split the prompts among N processes: torchrun --nproc-per-node N -m eap_plugin run MODEL ...
    """
    options = RunOptions(**given)
    check_output(options.output, options.overwrite)
    with keeping(options.parts), working(is_first() and not (options.quiet or options.as_json)) as work:
        work.step("Loading the model")
        options.check_names()
        with joined() as ranks:
            model, (task, other) = ranks.agree(lambda: _load(choice, options))
            if options.dry_run:
                work.step("Timing a pass")
                estimate = _estimate(options, model, task)
            else:
                work.step("Scoring")
                scores = _score(options, model, task, other, choice.timeout, work)
    if not is_first():
        return
    if options.dry_run:
        tell_estimate(estimate, f"{options.algorithm} on {model.name}", len(task), options.as_json)
        return
    if task.dropped and not (options.quiet or options.as_json):
        report_dropped(task.dropped, len(task))
    if not options.force:
        require_behaviour(scores)
    if options.output is not None:
        scores.save(options.output)
    if options.as_json:
        _print_json(options, task, scores)
    else:
        _print(options, scores)


def _load(choice: ModelChoice, options: RunOptions) -> tuple[ResidualModel, tuple[Task, Task | None]]:
    model = choice.load()
    return model, options.load_prompts(model)


def _estimate(options: RunOptions, model: ResidualModel, task: Task) -> Estimate:
    from eap_plugin import api

    return api.estimate_cost(
        model,
        task,
        algorithm=options.algorithm,
        metric=options.metric,
        batch_size=options.batch_size or "auto",
        max_memory=options.max_memory,
        **options.algorithm_options,
    )


def _score(
    options: RunOptions, model: ResidualModel, task: Task, other: Task | None, timeout: float | None, work: Work
) -> PruneScores | NodeScores:
    from eap_plugin import api

    scores: PruneScores | NodeScores = api.prune_scores(
        model,
        task,
        algorithm=options.algorithm,
        metric=options.metric,
        batch_size=options.batch_size or "auto",
        max_memory=options.max_memory,
        ablation_data=other,
        groups=options.groups,
        progress=work.advance,
        timeout=timeout,
        status=work.tell,
        prompts_per_request=options.prompts_per_request,
        parts=options.parts,
        resume=options.resume,
        distributed=is_distributed(),
        share_prefix=options.share_prefix,
        **options.algorithm_options,
    )
    return scores


def _print_json(options: RunOptions, task: Task, scores: PruneScores | NodeScores) -> None:
    print_json(
        {
            "metadata": scores.metadata,
            **scores_json(scores, options.top),
            "dropped": [asdict(d) for d in task.dropped],
            "output": None if options.output is None else str(options.output),
        }
    )


def _print(options: RunOptions, scores: PruneScores | NodeScores) -> None:
    console = stdout()
    console.print(summary(scores))
    if options.top:
        console.print()
        console.print(edges_table(scores, options.top))
    if options.output is not None:
        console.print(f"\nSaved to {options.output}; to read it: eap show {options.output}", soft_wrap=True)
    elif not options.quiet:
        console.print("\nNot saved; to keep the scores, add -o scores.safetensors")
