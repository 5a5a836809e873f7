"""Compare EAP with the passes that any gradient method needs, and with TransformerLens' own edge attribution.

    python benchmarks/bench_eap.py [--rounds 7] [--slow-rounds 1] [--threads 1] [--json]

The model has GPT-2-small's shape and random weights. After a warm-up, contenders take turns in one process, so that
a slow period of the machine affects all of them, and each time is the median over the rounds. TransformerLens'
attribution takes part only in the first ``--slow-rounds`` rounds. Ratios are medians of the ratios of processor time
within a round; on a shared machine, wall time also depends on other processes. Memory is the peak growth in a process
of its own, the median of three (of one for TransformerLens' attribution); see ``peak_memory.py``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import torch
from contenders import BRIDGE, CONTENDERS, EAP, FLOOR, TRANSFORMER_LENS, make_batch

SIZES = ((8, 16), (16, 20))
OVER_BRIDGE, OVER_FLOOR, MEMORY_OVER_FLOOR = 1.35, 2.0, 1.5
"""The largest cost allowed for EAP."""


@dataclass(frozen=True)
class Row:
    """One contender at one size: medians, and ratios of processor time and memory."""

    name: str
    n_prompts: int
    n_tokens: int
    rounds: int
    wall_ms: float
    cpu_ms: float
    over_floor: float
    over_bridge: float
    peak_mib: float
    memory_over_floor: float


def measure(size: tuple[int, int], rounds: int, slow_rounds: int) -> list[Row]:
    """Measure all contenders at one size."""
    batch = make_batch(*size)
    wall: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    cpu: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for name, contender in CONTENDERS.items():
        contender(batch if name != TRANSFORMER_LENS else make_batch(1, 4))
    for turn in range(rounds):
        print(f"{size[0]}×{size[1]} tokens, round {turn + 1} of {rounds}", file=sys.stderr)
        for name, contender in CONTENDERS.items():
            if name == TRANSFORMER_LENS and turn >= slow_rounds:
                continue
            started, worked = time.perf_counter(), time.process_time()
            contender(batch)
            cpu[name].append(1000 * (time.process_time() - worked))
            wall[name].append(1000 * (time.perf_counter() - started))
    print(f"{size[0]}×{size[1]} tokens, memory", file=sys.stderr)
    peak = {name: peak_memory(name, size, 1 if name == TRANSFORMER_LENS else 3) for name in CONTENDERS}

    def ratio(name: str, to: str) -> float:
        return median(a / b for a, b in zip(cpu[name], cpu[to], strict=False))

    return [
        Row(
            name, *size, len(cpu[name]), median(wall[name]), median(cpu[name]),
            ratio(name, FLOOR), ratio(name, BRIDGE), peak[name], peak[name] / peak[FLOOR],
        )
        for name in CONTENDERS
    ]  # fmt: skip


def peak_memory(name: str, size: tuple[int, int], processes: int) -> float:
    """Measure the peak growth of memory in MiB, as the median over several processes."""
    command = [sys.executable, str(Path(__file__).with_name("peak_memory.py")), name, *map(str, size)]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(processes)]
    return median(float(run.stdout) for run in runs)


def table(rows: list[Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        "| prompts × tokens | what | rounds | wall ms | CPU ms | × floor | × bridge | peak MiB | × floor |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.n_prompts}×{r.n_tokens} | {r.name} | {r.rounds} | {r.wall_ms:.0f} | {r.cpu_ms:.0f} | "
        f"{r.over_floor:.2f} | {r.over_bridge:.2f} | {r.peak_mib:.0f} | {r.memory_over_floor:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def verdict(rows: list[Row]) -> tuple[bool, str]:
    """Return whether EAP is within its limits at every size, and a line that reports it."""
    eap = [row for row in rows if row.name == EAP]
    bridge, floor = max(r.over_bridge for r in eap), max(r.over_floor for r in eap)
    memory = max(r.memory_over_floor for r in eap)
    met = bridge <= OVER_BRIDGE and floor <= OVER_FLOOR and memory <= MEMORY_OVER_FLOOR
    return met, (
        f"EAP takes at most {bridge:.2f} × the bridge's passes (limit {OVER_BRIDGE}), {floor:.2f} × the floor "
        f"(limit {OVER_FLOOR}), and {memory:.2f} × its memory (limit {MEMORY_OVER_FLOOR}): "
        f"targets {'met' if met else 'MISSED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds with TransformerLens' attribution")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = [row for size in SIZES for row in measure(size, args.rounds, args.slow_rounds)]
    met, line = verdict(rows)
    machine = {"cores": os.cpu_count(), "threads": args.threads} | {
        package: version(package) for package in ("torch", "transformer-lens", "transformers")
    }
    if args.json:
        print(json.dumps({"machine": machine, "rows": [asdict(r) for r in rows], "targets_met": met}, indent=2))
    else:
        print(", ".join(f"{key} {value}" for key, value in machine.items()), table(rows), line, sep="\n\n")
    sys.exit(not met)


if __name__ == "__main__":
    main()
