"""``eap demo``: find a circuit in a shipped model, and show that it is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from eap_plugin.cli.edges import edges_table, scores_json
from eap_plugin.cli.output import json_option, number, percent, print_json, stdout, table
from eap_plugin.cli.work import working

if TYPE_CHECKING:
    from eap_plugin.model.residual_model import ResidualModel
    from eap_plugin.results.prune_scores import PruneScores
    from eap_plugin.task.task import Task

MODEL, TASK, METRIC = "ioi-gpt2", "ioi", "logit_diff"
FRACTIONS = (0.02, 0.03, 0.05, 0.1)
N_RANDOM = 5
TOP = 8


@dataclass(frozen=True)
class Kept:
    """The share of the behaviour that is left when only some edges are kept: 1 is all of it, 0 none.

    Attributes:
        fraction: the share of edges kept.
        n_edges: the number of edges kept.
        eap: what is left with the edges that EAP scores highest.
        random: what is left with random edges, averaged over ``N_RANDOM`` circuits.
    """

    fraction: float
    n_edges: int
    eap: float
    random: float


@click.command(short_help="Find a circuit in a shipped model: start here.")
@json_option
def demo(as_json: bool) -> None:
    """Find the circuit of a small shipped model, offline, in a few seconds."""
    with working(not as_json) as work:
        work.step("Loading the model")
        from eap_plugin import api

        model = api.load_model(MODEL)
        task = api.load_task(TASK, model)
        work.step("Scoring")
        scores = api.prune_scores(model, task, metric=METRIC)
        work.step("Ablating edges")
        kept = _compare(model, task, scores)
    if as_json:
        print_json(
            {
                "metadata": scores.metadata,
                **scores_json(scores, TOP),
                "faithfulness": [vars(row) for row in kept],
            }
        )
        return
    _print(scores, kept)


def _compare(model: ResidualModel, task: Task, scores: PruneScores) -> list[Kept]:
    """Run the model with only the strongest edges, and with as many random ones."""
    from eap_plugin import api

    found = api.evaluate(
        model, task, scores, sizes=FRACTIONS, signed=False, metric=METRIC, random=N_RANDOM, resamples=0
    )
    return [Kept(p.fraction, p.size, p.faithfulness, float(p.random_faithfulness.mean())) for p in found.points]


def _print(scores: PruneScores, kept: list[Kept]) -> None:
    console, m = stdout(), scores.metadata
    console.print(
        f"{MODEL} is a small language model that does one thing: name the person who is given something. "
        "After 'When Mary and John met at the park, John handed a book to' it says 'Mary'. "
        "When a third person hands the book over, nothing tells it whom to name.\n"
    )
    clean, corrupt = number(m["clean_metric"]), number(m["corrupt_metric"])
    console.print(
        f"Over {m['n_prompts']} such prompts, the logit of the right name minus that of the wrong one is {clean}; "
        f"with a third person it is {corrupt}.\n"
    )
    console.print(f"Edge attribution patching scores all {scores.n_edges} edges at once. The strongest:\n")
    console.print(edges_table(scores, TOP))
    console.print(
        "\nAre these the edges that matter? Keep only some edges, patch all others with their values when a third "
        "person gives, and measure how much of the difference is left:\n"
    )
    random = f"Random edges (mean of {N_RANDOM})"
    rows = [(f"{row.fraction:.0%} ({row.n_edges})", percent(row.eap), percent(row.random)) for row in kept]
    columns = ("Edges kept", "Strongest edges", random)
    console.print(table(columns, rows, right=columns))
    console.print(
        f"\nTry next:\n"
        f"  eap run {MODEL} --task {TASK} -o scores.safetensors   score and save\n"
        "  eap run gpt2 --task ioi -n 32                       score a real model from the hub\n"
        "  eap algorithms eap                                  list the options"
    )
