"""Measure the run time of ``eap --help`` and ``eap plugins``, compared with a bare click program.

    python benchmarks/bench_startup.py [--rounds 15] [--json]

Each runs in a process of its own; they take turns, and each time is the median over the rounds. The target applies to
processor time, since on a shared machine wall time also depends on other processes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

BARE = "import click\n@click.command()\ndef main(): pass\nmain(['--help'])"
COMMANDS = {
    "bare click program": ["-c", BARE],
    "eap --help": ["-m", "eap_plugin", "--help"],
    "eap plugins": ["-m", "eap_plugin", "plugins"],
}
OVER_BARE = 0.2
"""The seconds that a command may take in addition to the bare program."""


def processor_time() -> float:
    """Return the processor seconds of finished child processes."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Return median wall and processor seconds by command; a first round, which fills caches, is not counted."""
    wall: dict[str, list[float]] = {name: [] for name in COMMANDS}
    cpu: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            started, worked = time.perf_counter(), processor_time()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            wall[name].append(time.perf_counter() - started)
            cpu[name].append(processor_time() - worked)
    return {name: {"wall": median(wall[name][1:]), "cpu": median(cpu[name][1:])} for name in COMMANDS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    seconds = measure(args.rounds)
    bare = seconds["bare click program"]["cpu"]
    met = max(times["cpu"] for times in seconds.values()) - bare <= OVER_BARE
    if args.json:
        print(json.dumps({"seconds": seconds, "targets_met": met}, indent=2))
    else:
        print("| command | wall s | CPU s | beyond the bare program |", "| --- | ---: | ---: | ---: |", sep="\n")
        for name, times in seconds.items():
            print(f"| {name} | {times['wall']:.2f} | {times['cpu']:.2f} | {times['cpu'] - bare:.2f} |")
        print(f"\nAt most {OVER_BARE} s beyond a bare click program: target {'met' if met else 'MISSED'}")
    sys.exit(not met)


if __name__ == "__main__":
    main()
