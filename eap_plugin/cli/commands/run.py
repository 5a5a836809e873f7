"""``eap run``: score the edges of a model on a task."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from eap_plugin.cli.edges import edges_table, scores_json
from eap_plugin.cli.estimate import tell_estimate
from eap_plugin.cli.load import model_options
from eap_plugin.cli.output import json_option, print_json, stdout, top_option
from eap_plugin.cli.parts import keeping, parts_folder
from eap_plugin.cli.verdict import report_dropped, require_behaviour, summary
from eap_plugin.cli.work import working
from eap_plugin.errors import UsageError
from eap_plugin.host.options import build_options, parse_assignments


@click.command(short_help="Score every edge of a model on a task.")
@click.option("--task", "-t", "task_name", required=True, help="A task's name (eap tasks) or a file of prompts.")
@click.option("--algorithm", "-a", default="eap", show_default=True, help="How to score (eap algorithms).")
@click.option("--metric", "-m", default="logit_diff", show_default=True, help="What to explain (eap metrics).")
@click.option("-O", "assignments", multiple=True, metavar="NAME=VALUE", help="An option of the algorithm.")
@click.option(
    "--prompts",
    "-n",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    metavar="N",
    help="Prompt pairs to use.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which of the task's prompts to take.")
@click.option(
    "--bos/--no-bos", default=None, help="Begin prompts with the tokenizer's BOS token; by default as the model does."
)
@click.option("--format", "file_format", help="The prompt file's format, if its name does not tell.")
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Prompt pairs to run at once; by default all.",
)
@click.option(
    "--prompts-per-request",
    type=click.IntRange(min=1),
    metavar="N",
    help="Split the run into parts of so many prompt pairs; finished ones are kept beside --output.",
)
@click.option("--resume", is_flag=True, help="Go on with the parts that an interrupted run finished.")
@click.option("--ablation-task", metavar="TASK", help="Take means of -O ablation=mean over this task (name or file).")
@model_options
@click.option("--output", "-o", type=click.Path(path_type=Path), help="Save scores to this safetensors file.")
@top_option
@click.option("--force", is_flag=True, help="Give scores even where the model does not do the task.")
@json_option
@click.option("--dry-run", is_flag=True, help="Only say how long it would take, from one pass timed here.")
@click.option("--quiet", "-q", is_flag=True, help="Print results and errors only.")
def run(
    model: str,
    task_name: str,
    algorithm: str,
    metric: str,
    assignments: Sequence[str],
    prompts: int,
    seed: int,
    bos: bool | None,
    file_format: str | None,
    batch_size: int | None,
    prompts_per_request: int | None,
    resume: bool,
    ablation_task: str | None,
    backend: str,
    device: str,
    dtype: str,
    revision: str | None,
    remote: bool | str,
    timeout: float | None,
    output: Path | None,
    top: int,
    force: bool,
    as_json: bool,
    dry_run: bool,
    quiet: bool,
) -> None:
    """Score every edge of MODEL on a task, and list the strongest.

    MODEL is a shipped model (ioi-gpt2 or ioi-llama), a folder that save_pretrained wrote, or a name on the
    Hugging Face hub. A positive score means that corrupting this edge alone lowers the metric.
    """
    if output is not None:
        _check_writable(output)
    options: dict[str, Any] = parse_assignments(assignments)
    parts = parts_folder(output, prompts_per_request, resume)
    with keeping(parts), working(not (quiet or as_json)) as work:
        work.step("Loading the model")
        from eap_plugin import api

        # Names and options come first: a mistake in them must not cost the loading of a model.
        build_options(api.algorithms()[algorithm].options, options, algorithm)
        _ = api.metrics()[metric], api.task_source(task_name, file_format)
        if ablation_task is not None:
            api.task_source(ablation_task)
        loaded = api.load_model(model, backend=backend, device=device, dtype=dtype, revision=revision, remote=remote)
        task = api.load_task(task_name, loaded, n_prompts=prompts, seed=seed, format=file_format, prepend_bos=bos)
        other = None
        if ablation_task is not None:
            other = api.load_task(ablation_task, loaded, n_prompts=prompts, seed=seed, prepend_bos=bos)
        if dry_run:
            work.step("Timing a pass")
            estimate = api.estimate_cost(
                loaded, task, algorithm=algorithm, metric=metric, batch_size=batch_size, **options
            )
        else:
            work.step("Scoring")
            scores = api.prune_scores(
                loaded,
                task,
                algorithm=algorithm,
                metric=metric,
                batch_size=batch_size,
                ablation_data=other,
                progress=work.advance,
                timeout=timeout,
                status=work.tell,
                prompts_per_request=prompts_per_request,
                parts=parts,
                resume=resume,
                **options,
            )
    if dry_run:
        tell_estimate(estimate, f"{algorithm} on {loaded.name}", len(task), as_json)
        return
    if task.dropped and not (quiet or as_json):
        report_dropped(task.dropped, len(task))
    if not force:
        require_behaviour(scores)
    if output is not None:
        scores.save(output)
    if as_json:
        print_json(
            {
                "metadata": scores.metadata,
                **scores_json(scores, top),
                "dropped": [asdict(d) for d in task.dropped],
                "output": None if output is None else str(output),
            }
        )
        return
    console = stdout()
    console.print(summary(scores))
    if top:
        console.print()
        console.print(edges_table(scores, top))
    if output is not None:
        console.print(f"\nSaved to {output}; to read it: eap show {output}", soft_wrap=True)
    elif not quiet:
        console.print("\nNot saved; to keep the scores, add -o scores.safetensors")


def _check_writable(path: Path) -> None:
    """Find out before any work whether ``path`` can be written.

    Raises:
        UsageError: if it is a folder, or its folder is missing or read-only.
    """
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; add a file name")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission to write in {path.parent.resolve()}")
