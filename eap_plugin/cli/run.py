"""``eap run``: score the edges of a model on a task."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from eap_plugin.cli.edges import edges_json, edges_table
from eap_plugin.cli.load import model_options
from eap_plugin.cli.output import json_option, number, print_json, stderr, stdout, top_option
from eap_plugin.cli.work import working
from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.host import get_host
from eap_plugin.host.options import build_options, parse_assignments

if TYPE_CHECKING:
    from eap_plugin.scores import PruneScores
    from eap_plugin.tasks.task import Dropped


@click.command()
@model_options
@click.option(
    "--task", "-t", "task_name", required=True, help="A task's name (eap tasks) or a file of prompts."
)
@click.option("--algorithm", "-a", default="eap", show_default=True, help="How to score (eap algorithms).")
@click.option(
    "--metric", "-m", default="logit_diff", show_default=True, help="What to explain (eap metrics)."
)
@click.option("-O", "assignments", multiple=True, metavar="NAME=VALUE", help="An option of the algorithm.")
@click.option(
    "--prompts", "-n", type=click.IntRange(min=1), default=64, show_default=True, help="Prompt pairs to use."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Which of the task's prompts to take.")
@click.option(
    "--format", "file_format", help="The format of the file of prompts, where its name does not tell."
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Prompt pairs to run at once; by default all.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Save the scores to this safetensors file."
)
@top_option(10)
@click.option("--force", is_flag=True, help="Give scores even where the model does not do the task.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="Print results and errors only.")
def run(
    model: str,
    backend: str | None,
    device: str,
    dtype: str,
    task_name: str,
    algorithm: str,
    metric: str,
    assignments: Sequence[str],
    prompts: int,
    seed: int,
    file_format: str | None,
    batch_size: int | None,
    output: Path | None,
    top: int,
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score every edge of MODEL on a task, and list the strongest.

    A positive score means that corrupting this edge alone makes the metric worse.
    """
    # What can be wrong without a model is found before one is loaded.
    if output is not None:
        _check_writable(output)
    chosen = get_host().registry("algorithms")[algorithm]
    options = parse_assignments(assignments)
    build_options(chosen.options, options, algorithm)

    with working(not (quiet or as_json)) as work:
        work.step("Loading the model")
        from eap_plugin import api

        unit = getattr(api.metrics()[metric], "unit", "")
        loaded = api.load_model(model, backend=backend, device=device, dtype=dtype)
        task = api.load_task(task_name, loaded, n_prompts=prompts, seed=seed, format=file_format)
        work.step("Scoring")
        scores = api.prune_scores(
            loaded,
            task,
            algorithm=algorithm,
            metric=metric,
            batch_size=batch_size,
            progress=work.advance,
            **options,
        )
    if task.dropped and not quiet:
        _report_dropped(task.dropped, len(task))
    if not force:
        _require_behaviour(scores)
    if as_json:
        _save(scores, output)
        print_json(
            {
                "metadata": scores.metadata,
                "n_edges": scores.n_edges,
                "edges": edges_json(scores, top),
                "dropped": [asdict(d) for d in task.dropped],
                "output": None if output is None else str(output),
            }
        )
        return
    console = stdout()
    console.print(_summary(scores, unit))
    if top:
        console.print()
        console.print(edges_table(scores, top, unit))
    _save(scores, output)
    if output is not None:
        console.print(f"\nSaved to {output}; eap show reads it.", soft_wrap=True)
    elif not quiet:
        console.print("\nNot saved; add -o scores.safetensors to keep these scores.")


def _check_writable(path: Path) -> None:
    """Find out before any work that ``path`` can be written."""
    if path.is_dir():
        raise UsageError(f"cannot write {path}: it is a folder; add a file name")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: the folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: no permission to write in {path.parent.resolve()}")


def _report_dropped(dropped: Sequence[Dropped], kept: int, reasons: int = 5, examples: int = 1) -> None:
    """Say on stderr which prompt pairs were left out: counts of the commonest reasons, and an example of each."""
    console = stderr()
    console.print(f"{len(dropped)} of {len(dropped) + kept} prompt pairs left out:")
    counts = Counter(d.reason for d in dropped)
    for reason, count in counts.most_common(reasons):
        console.print(f"  {count} x {reason}")
        for prompt in [d.prompt for d in dropped if d.reason == reason][:examples]:
            console.print(f"      {prompt!r}", no_wrap=True, overflow="ellipsis")
    if len(counts) > reasons:
        console.print(f"  and {len(counts) - reasons} more reasons (--json lists all)")


def _require_behaviour(scores: PruneScores) -> None:
    """Refuse scores of a task that the model does not do.

    Raises:
        EapPluginError: unless the metric is higher on clean prompts than on corrupt ones.
    """
    clean, corrupt = (scores.metadata.get(name) for name in ("clean_metric", "corrupt_metric"))
    if clean is None or corrupt is None or clean > corrupt:
        return
    raise EapPluginError(
        f"{scores.metadata['metric']} is {number(clean)} on clean prompts, not above {number(corrupt)} on corrupt ones, "
        f"so there is no behaviour to explain; check the task's answers, or use --force"
    )


def _summary(scores: PruneScores, unit: str) -> str:
    """What was scored, and how well the model does it, in two lines."""
    m = scores.metadata
    first = f"{m['algorithm']} on {m['model']}: {scores.n_edges:,} edges, {m['n_prompts']} prompt pairs of {m['task']}"
    if m.get("clean_metric") is None or m.get("corrupt_metric") is None:
        return first
    clean, corrupt = number(m["clean_metric"]), number(m["corrupt_metric"])
    return f"{first}\n{m['metric']} {clean} on clean, {corrupt} on corrupt prompts {f'({unit})' if unit else ''}".rstrip()


def _save(scores: PruneScores, output: Path | None) -> None:
    if output is not None:
        scores.save(output)
