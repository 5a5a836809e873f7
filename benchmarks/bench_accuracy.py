"""Measure how closely every registered algorithm approximates activation patching, and how good its circuits are.

    python benchmarks/bench_accuracy.py [--prompts 32] [--threads 1] [--json] [MODEL ...]

Edges are scored on some prompts and circuits are evaluated on others. docs/accuracy.md explains the columns.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict, dataclass
from statistics import fmean, median
from typing import Any

import torch
from torch import Tensor

import eap_plugin
from eap_plugin.errors import EapPluginError
from eap_plugin.host.options import build_options
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.results.prune_scores import PruneScores
from eap_plugin.shipped import SHIPPED

RANDOM_SEEDS = 10
"""The seeds over which the row of random scores is averaged."""

REFERENCE, BASELINE = "exact", "random"
ORDER = ("eap-ig-inputs", "eap", BASELINE)
"""The order of algorithms reported in the literature, the best first."""


@dataclass(frozen=True)
class Row:
    """The results of one algorithm on one model."""

    model: str
    algorithm: str
    signed: float
    absolute: float
    cpr: float
    cmd: float
    passes: int
    seconds: float
    over_eap: float


class Arena:
    """One model, with the prompts for scoring edges and those for evaluating circuits."""

    def __init__(self, name: str, n_prompts: int) -> None:
        self.model: ResidualModel = eap_plugin.load_model(name)
        self.name = name
        self.task, self.others = (
            eap_plugin.load_task("ioi", self.model, n_prompts=n_prompts, seed=seed) for seed in (0, 1)
        )
        eap_plugin.prune_scores(self.model, self.task)  # so that no algorithm pays for the warm-up
        self.exact, _ = self.score(REFERENCE)
        self.eap_seconds = median(self.score("eap")[1] for _ in range(5))

    def score(self, algorithm: str, **options: Any) -> tuple[PruneScores, float]:
        """Return an algorithm's scores and their processor seconds; wall time would also depend on other processes."""
        started = time.process_time()
        scores = eap_plugin.prune_scores(self.model, self.task, algorithm=algorithm, **options)
        return scores, time.process_time() - started

    def row(self, algorithm: str) -> Row:
        """Evaluate an algorithm with its default options."""
        provider = eap_plugin.algorithms()[algorithm]
        passes = sum(provider.cost(build_options(provider.options, {}, algorithm), self.model.graph))
        seeds = [{"seed": seed} for seed in range(RANDOM_SEEDS)] if algorithm == BASELINE else [{}]
        runs = [self.score(algorithm, **options) for options in seeds]
        measured = [self._measure(scores) for scores, _ in runs]
        seconds = fmean(seconds for _, seconds in runs)
        signed, absolute, cpr, cmd = (fmean(values) for values in zip(*measured, strict=True))
        over_eap = seconds / self.eap_seconds
        return Row(self.name, algorithm, signed, absolute, cpr, cmd, passes, seconds, over_eap)

    def _measure(self, scores: PruneScores) -> tuple[float, float, float, float]:
        edges = scores.is_edge
        mine, true = scores.matrix[edges].double(), self.exact.matrix[edges].double()
        return spearman(mine, true), spearman(mine.abs(), true.abs()), *self._areas(scores)

    def _areas(self, scores: PruneScores) -> tuple[float, float]:
        found = eap_plugin.evaluate(self.model, self.others, scores, resamples=0)
        assert found.cpr is not None
        assert found.cmd is not None
        return found.cpr, found.cmd


def spearman(a: Tensor, b: Tensor) -> float:
    """Compute the rank correlation; ties get their mean rank."""
    return float(torch.corrcoef(torch.stack([_ranks(a), _ranks(b)]))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = (counts.cumsum(0) - (counts - 1) / 2)[inverse].double()
    return ranks


def table(rows: list[Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| model | algorithm | ρ signed | ρ absolute | CPR | CMD | passes | CPU s | × EAP |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.model} | {r.algorithm} | {r.signed:.2f} | {r.absolute:.2f} | {r.cpr:.3f} | {r.cmd:.3f} | "
        f"{r.passes:,} | {r.seconds:.2f} | {r.over_eap:.1f} |"
        for r in rows
    ]
    return "\n".join(lines)


def verdict(rows: list[Row]) -> list[str]:
    """Report, for each model and each column that compares algorithms, whether the literature's order holds."""
    lines = []
    for model in dict.fromkeys(row.model for row in rows):
        found = {row.algorithm: row for row in rows if row.model == model}
        there = [found[name] for name in ORDER if name in found]
        for column, sign in (("signed", -1), ("absolute", -1), ("cmd", 1)):
            values = [sign * getattr(row, column) for row in there]
            holds = "holds" if values == sorted(values) else "does not hold"
            lines.append(f"{model}, {column}: {' above '.join(row.algorithm for row in there)} {holds}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=sorted(SHIPPED), metavar="MODEL")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    for name in args.models:
        arena = Arena(name, args.prompts)
        for algorithm in eap_plugin.algorithms():
            print(f"{name}: {algorithm}", file=sys.stderr)
            try:
                rows.append(arena.row(algorithm))
            except EapPluginError as error:
                print(f"{algorithm} cannot be run on {name}: {error}", file=sys.stderr)
    rows.sort(key=lambda row: (row.model, row.cmd))
    if args.json:
        print(json.dumps({"rows": [asdict(row) for row in rows], "order": verdict(rows)}, indent=2))
    else:
        print(table(rows), "\n".join(verdict(rows)), sep="\n\n")


if __name__ == "__main__":
    main()
