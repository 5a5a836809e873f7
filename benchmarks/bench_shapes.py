"""Measure algorithms next to the floor, the passes that any gradient method needs, on models of several shapes.

    python benchmarks/bench_shapes.py [--rounds 5] [--threads 1] [--json] [NAME ...]

Floor and algorithm take turns in one process after a warm-up. A ratio is that of processor time within a round; the
table has its median, smallest and largest value.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median

import torch
from shapes import Shape, gpt2, llama

SHAPES = (
    Shape("gpt2-8x16", gpt2, 8, 16),
    Shape("gpt2-16x20", gpt2, 16, 20),
    Shape("gpt2-16x20-differing-at-12", gpt2, 16, 20, start=12),
    Shape("gpt2-64x20", gpt2, 64, 20),
    Shape("gpt2-1x512", gpt2, 1, 512),
    Shape("gpt2-8x16-eap-ig-inputs", gpt2, 8, 16, algorithm="eap-ig-inputs"),
    Shape("llama24-8x32", partial(llama, 24, 1024, 16, 4, 2816, 32000), 8, 32),
    Shape("llama48-8x32", partial(llama, 48, 768, 12, 4, 2048, 32000), 8, 32),
)


@dataclass(frozen=True)
class Row:
    """One shape: the median, lowest and highest ratio to the floor, and the floor's median seconds."""

    name: str
    ratio: float
    lowest: float
    highest: float
    floor_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [shape.name for shape in SHAPES]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(names)}; all if not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    if unknown := set(args.names) - set(names):
        parser.error(f"unknown shapes {', '.join(sorted(unknown))} (known: {', '.join(names)})")
    torch.set_num_threads(args.threads)
    rows = []
    for shape in SHAPES:
        if shape.name in (args.names or names):
            ratios, floors = shape.ratios(args.rounds)
            rows.append(Row(shape.name, median(ratios), min(ratios), max(ratios), median(floors)))
            for name in ("model", "traced"):
                del shape.__dict__[name]  # memory for the next shape
    if args.json:
        print(json.dumps([asdict(row) for row in rows], indent=2))
        return
    print("| shape | × floor | smallest | largest | floor, CPU s |", "| --- | ---: | ---: | ---: | ---: |", sep="\n")
    for row in rows:
        print(f"| {row.name} | {row.ratio:.2f} | {row.lowest:.2f} | {row.highest:.2f} | {row.floor_s:.2f} |")


if __name__ == "__main__":
    main()
