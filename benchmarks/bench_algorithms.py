"""Measure the cost of every registered algorithm, with its default options, relative to EAP.

    python benchmarks/bench_algorithms.py [--rounds 3] [--threads 1] [--passes 40] [--json]

They run on the shipped model ``ioi-gpt2`` with 64 prompt pairs of ``ioi``, and on GPT-2-small's shape with 8×16 random
tokens, where only algorithms with at most ``--passes`` passes take part. Algorithms take turns in one process. Times
are processor times, including the self-check, and medians over the rounds; ratios to EAP are medians of the ratios
within a round.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from statistics import median
from typing import Any

import torch
from contenders import bridge, make_batch

import eap_plugin


@dataclass(frozen=True)
class Row:
    """The results of one algorithm on one model."""

    model: str
    name: str
    forwards: int
    backwards: int
    cpu_ms: float
    over_eap: float
    passes_over_eap: float


def measure(name: str, model: Any, data: Any, rounds: int, passes: int | None) -> list[Row]:
    """Measure every algorithm with at most ``passes`` passes on one model."""
    wrapped, algorithms = eap_plugin.wrap_model(model), eap_plugin.algorithms()
    costs = {key: algorithms[key].cost(algorithms[key].options(), wrapped.graph) for key in algorithms}
    chosen = ["eap", *(key for key in costs if key != "eap" and (passes is None or sum(costs[key]) <= passes))]
    cpu: dict[str, list[float]] = {key: [] for key in chosen}
    for turn in range(rounds + 1):
        for key in chosen:
            print(f"{name}, round {turn} of {rounds}: {key}", file=sys.stderr)
            worked = time.process_time()
            eap_plugin.prune_scores(wrapped, data, algorithm=key)
            if turn:  # the first round is a warm-up
                cpu[key].append(1000 * (time.process_time() - worked))

    def over_eap(key: str) -> float:
        return median(a / b for a, b in zip(cpu[key], cpu["eap"], strict=True))

    return [
        Row(name, key, *costs[key], median(cpu[key]), over_eap(key), sum(costs[key]) / sum(costs["eap"]))
        for key in chosen
    ]


def table(rows: list[Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| model | algorithm | forward | back | CPU ms | × eap | passes × eap's |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.model} | `{r.name}` | {r.forwards} | {r.backwards} | {r.cpu_ms:.0f} | {r.over_eap:.2f} | "
        f"{r.passes_over_eap:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--passes", type=int, default=40, help="largest number of passes on GPT-2-small's shape")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    shipped = eap_plugin.load_model("ioi-gpt2")
    rows = measure("ioi-gpt2, 64 pairs", shipped, eap_plugin.load_task("ioi", shipped), args.rounds, None)
    rows += measure("GPT-2-small's shape, 8×16", bridge(), [make_batch(8, 16)], args.rounds, args.passes)
    machine = {"cores": os.cpu_count(), "threads": args.threads} | {
        package: version(package) for package in ("torch", "transformer-lens", "transformers")
    }
    if args.json:
        print(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=2))
    else:
        print(", ".join(f"{key} {value}" for key, value in machine.items()), table(rows), sep="\n\n")


if __name__ == "__main__":
    main()
