"""Check that scoring has not become dearer: its time beside the floor's, and its floating-point operations.

    python benchmarks/guard.py [--rounds 5] [--record]

On small models, in one process. A ratio of processor time to the floor's fails above 1.25 × the recorded one. The
number of operations, which does not depend on the machine, fails above 1.02 × the recorded number. Because other work
on the machine can raise a ratio, one that is too high is measured again, up to twice. ``--record`` writes what it
measures to ``guard.json``; do that on an idle machine, when a change is meant to cost more, or has made it cheaper.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import median

import torch
from shapes import Shape, gpt2, llama
from torch.utils.flop_counter import FlopCounterMode

RECORD = Path(__file__).with_name("guard.json")
MOST_TIME, MOST_OPERATIONS = 1.25, 1.02
"""The largest measured value over the recorded one."""
ATTEMPTS = 3

SMALL = partial(gpt2, n_layer=6, n_embd=384, n_head=6, vocab_size=2000, bos_token_id=0, eos_token_id=0)
GROUPED = partial(llama, 12, 256, 8, 2, 768, 2000)
SHAPES = (
    Shape("gpt2 eap", SMALL, 8, 16),
    Shape("gpt2 eap, one long prompt", SMALL, 1, 128),
    Shape("gpt2 eap-ig-inputs", SMALL, 8, 16, algorithm="eap-ig-inputs"),
    Shape("llama eap", GROUPED, 8, 24),
)


def operations(shape: Shape) -> int:
    """Count the floating-point operations of matrix products and attention in a scoring run."""
    with FlopCounterMode(display=False) as counter:
        shape.score()
    return int(counter.get_total_flops())


def ratio(shape: Shape, rounds: int, enough: float) -> float:
    """Measure the time of scoring over the floor's; again if it is above ``enough``, and return the smallest."""
    smallest = float("inf")
    for _ in range(ATTEMPTS):
        smallest = min(smallest, median(shape.ratios(rounds)[0]))
        if smallest <= enough:
            break
    return smallest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="write what is measured to guard.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recorded = {} if args.record else json.loads(RECORD.read_text())
    found = {}
    for shape in SHAPES:
        enough = float("inf") if args.record else MOST_TIME * recorded[shape.name]["ratio"]
        found[shape.name] = {"ratio": ratio(shape, args.rounds, enough), "operations": operations(shape)}
    if args.record:
        RECORD.write_text(json.dumps(found, indent=2) + "\n")
        return
    failed = False
    for name, values in found.items():
        for what, most in (("ratio", MOST_TIME), ("operations", MOST_OPERATIONS)):
            over = values[what] / recorded[name][what]
            failed |= over > most
            print(
                f"{name}: {what} {values[what]:.4g}, {over:.3f} × the recorded {recorded[name][what]:.4g}, "
                f"allowed {most} ×: {'FAILED' if over > most else 'ok'}"
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()
