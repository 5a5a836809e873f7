"""Compare this package with other tools: on the same weights and prompts, in turns on the same machine.

    python benchmarks/bench_peers.py [--rounds 3] [--prompts 8] [--tokens 16]

The model has GPT-2 small's shape, and random weights, biases and norms. AutoCircuit and EAP-IG run in ``--legacy``,
TransformerLens 4 and this package in the environment of this program, each in a process that loads the model once and
waits for its turns (``peers/worker.py``). EAP-IG is imported from the folder in the environment variable
``EAP_IG_SOURCE``, which ``make bench-peers`` fetches; if that is not set, it must be installed. Times are medians of
processor time on one thread after a warm-up; slow methods are run only once, without one. Memory is the peak growth of
the resident size over the loaded model. A difference is the largest one of scores over the largest score, or of metrics
over the largest metric.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from shapes import gpt2, random_batch

FOLDER = Path(__file__).parent / "peers"
OURS = "eap_plugin"


class Contest(NamedTuple):
    """A method of this package, and those of other tools that compute the same, with whether they are slow."""

    ours: str
    theirs: tuple[tuple[str, str, bool], ...]


CONTESTS = (
    Contest(
        "eap",
        (
            ("auto_circuit", "mask_gradient", False),
            ("auto_circuit", "seed function", True),
            ("eap_ig", "EAP", False),
            ("transformer_lens", "attribution_patch", True),
        ),
    ),
    Contest("eap-ig-inputs", (("eap_ig", "EAP-IG-inputs", False),)),
    Contest("evaluate, 1 %", (("eap_ig", "evaluate_graph, 1 %", False),)),
    Contest("evaluate, 10 %", (("eap_ig", "evaluate_graph, 10 %", False),)),
)


class Worker:
    """A tool in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, wanted: str, method: str) -> Any:
        """Return the seconds or the memory that a method takes, or both and its result."""
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        print(wanted, method, file=to, flush=True)
        line = back.readline()
        if not line:
            sys.exit(f"{method} failed; see its error above")
        return json.loads(line)


@contextmanager
def working(tool: str, python: str, folder: Path) -> Iterator[Worker]:
    """Start a tool's process, and end it."""
    source = os.environ.get("EAP_IG_SOURCE")
    paths = [str(FOLDER), *([source] if source and tool == "eap_ig" else []), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [python, str(FOLDER / f"with_{tool}.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield Worker(process)
    finally:
        process.kill()
        process.wait()


def make_inputs(folder: Path, n_prompts: int, n_tokens: int) -> None:
    """Save a random model and random prompts."""
    torch.manual_seed(0)
    model = gpt2(bos_token_id=0, eos_token_id=0)
    for name, parameter in model.named_parameters():
        if name.endswith("bias") or ".ln_" in name:
            parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    batch = random_batch(n_prompts, n_tokens, model.config.vocab_size)
    tensors = {"clean": batch.clean, "corrupt": batch.corrupt, "answers": batch.answers, "wrong": batch.wrong_answers}
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / "prompts.safetensors")


def compare(contest: Contest, workers: dict[str, Worker], rounds: int) -> list[str]:
    """Return the rows of the table for methods that compute the same."""
    all_of = ((OURS, contest.ours, False), *contest.theirs)
    firsts = {one: workers[one[0]].ask("all", one[1]) for one in all_of}
    seconds = {one: [float(firsts[one]["seconds"])] if one[2] else [] for one in all_of}
    for _ in range(rounds):
        for tool, method, slow in all_of:
            if not slow:
                seconds[tool, method, slow].append(workers[tool].ask("seconds", method))
    memory = {one: firsts[one]["memory"] if one[2] else workers[one[0]].ask("memory", one[1]) for one in all_of}
    ours, rows = all_of[0], []
    for one in all_of:
        time, difference = median(seconds[one]), _difference(firsts[one]["result"], firsts[ours]["result"])
        rows.append(
            f"| {one[0]} | {one[1]} | {time:.2f} | {time / median(seconds[ours]):.1f} | {memory[one]:.0f} | "
            f"{memory[one] / memory[ours]:.1f} | {difference:.1e} |"
        )
    return rows


def _difference(found: list[Any], want: list[Any]) -> float:
    """Return the largest difference over the largest number."""
    expected = torch.tensor(want)
    return float((torch.tensor(found) - expected).abs().max() / expected.abs().max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=16)
    parser.add_argument("--legacy", default=".venv-legacy/bin/python", help="Python with AutoCircuit and EAP-IG")
    args = parser.parse_args()
    pythons = {OURS: sys.executable, "transformer_lens": sys.executable}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        make_inputs(folder, args.prompts, args.tokens)
        tools = (OURS, "auto_circuit", "eap_ig", "transformer_lens")
        workers = {tool: stack.enter_context(working(tool, pythons.get(tool, args.legacy), folder)) for tool in tools}
        scores = torch.tensor(workers[OURS].ask("all", "eap")["result"])
        save_file({"scores": scores}, folder / "scores.safetensors")
        print("| tool | method | CPU s | × ours | peak MiB | × ours | difference |")
        print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
        for contest in CONTESTS:
            print(*compare(contest, workers, args.rounds), sep="\n", flush=True)


if __name__ == "__main__":
    main()
