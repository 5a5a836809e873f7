"""Measure what a common prefix of clean and corrupt prompts saves, next to the passes that any gradient method needs.

    python benchmarks/bench_prefix.py [--rounds 5] [--threads 1]

The model has GPT-2-small's shape and random weights, on nnsight in process. All prompt pairs differ at one position
only. After a warm-up, the floor (``contenders.py``) and the scores with and without shared prefixes take turns in one
process; ratios are medians of the ratios of processor time within a round. Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import torch
from contenders import floor, make_batch, traced

import eap_plugin
from eap_plugin import Batch


@dataclass(frozen=True)
class Case:
    """Prompts that differ first at one position, and the most that scoring them may cost, in floors."""

    n_prompts: int
    n_tokens: int
    first_difference: int
    target: float
    algorithm: str = "eap"
    options: dict[str, Any] = field(default_factory=dict)

    def batch(self) -> Batch:
        """Make random pairs that differ at this position only."""
        made = make_batch(self.n_prompts, self.n_tokens)
        corrupt = made.clean.clone()
        corrupt[:, self.first_difference] = made.corrupt[:, self.first_difference]
        return replace(made, corrupt=corrupt)


CASES = (
    Case(16, 20, 14, 0.60),
    Case(4, 256, 200, 0.42),
    Case(16, 20, 14, 2.2, "eap-ig-inputs", {"steps": 5}),
)


def measure(case: Case, rounds: int) -> tuple[float, float]:
    """Return the cost of scoring without and with shared prefixes, in floors."""
    batch, model = case.batch(), eap_plugin.wrap_model(traced())

    def score(share: bool) -> None:
        eap_plugin.prune_scores(model, [batch], algorithm=case.algorithm, share_prefix=share, **case.options)

    contenders: tuple[Callable[[], None], ...] = (lambda: floor(batch), lambda: score(False), lambda: score(True))
    ratios = []
    for turn in range(rounds + 1):
        seconds = []
        for contender in contenders:
            started = time.process_time()
            contender()
            seconds.append(time.process_time() - started)
        if turn:  # the first is the warm-up
            ratios.append((seconds[1] / seconds[0], seconds[2] / seconds[0]))
    whole, shared = zip(*ratios, strict=True)
    return median(whole), median(shared)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print("| prompts × tokens | differ first at | algorithm | whole × floor | shared × floor | target |")
    print("| --- | ---: | --- | ---: | ---: | ---: |")
    missed = False
    for case in CASES:
        whole, shared = measure(case, args.rounds)
        missed |= shared > case.target
        size = f"{case.n_prompts}×{case.n_tokens} | {case.first_difference} | {case.algorithm}"
        print(f"| {size} | {whole:.2f} | {shared:.2f} | {case.target:.2f} |", flush=True)
    sys.exit(missed)


if __name__ == "__main__":
    main()
