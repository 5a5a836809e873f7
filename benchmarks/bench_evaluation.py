"""Measure what one more circuit costs in an evaluation, next to a plain forward pass, on GPT-2-small's shape.

    python benchmarks/bench_evaluation.py [--rounds 5] [--prompts 16] [--tokens 20] [--late 14] [--threads 1] [--json]

Circuits are of random edges. The prompts differ from their first token on; and, in the column "late", from the position
``--late`` on, so that all runs continue from what they have in common. All take turns in one process; a time is the
smallest processor time over the rounds. Memory is the growth of the resident size during a run, beyond the recorded
reference run; no run uses memory that an earlier one has left. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from process_memory import peak_growth
from shapes import random_batch
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import GPT2Config, GPT2LMHeadModel

import eap_plugin
from eap_plugin.circuits.evaluation.program import PatchedRun, Reference
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.interventions.counterfactual import Counterfactual
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.prefix import with_prefix
from eap_plugin.model.residual_model import ResidualModel

TARGETS = {0.001: 1.3, 0.01: 1.5, 0.1: 2.0, 0.99: 1.3}
"""By share of edges in the circuit, the most that its run may take, in multiples of a plain forward pass."""

LATE_TARGET = 0.7
"""The most that a run may take on prompts that differ late, in multiples of the same where they differ everywhere."""

MEMORY_TARGET = 1.5
"""The most memory that a run may take, in multiples of a plain forward pass's."""


@dataclass(frozen=True)
class Row:
    """One run: its processor time and memory, also in multiples of a plain forward pass's, and the targets' verdict."""

    run: str
    cpu_s: float
    times_plain: float
    target: float
    late_times_early: float
    peak_mib: float
    memory_times_plain: float
    met: bool


def random_edges(graph: Graph, share: float) -> PatchedRun:
    """Return a circuit of random edges."""
    places = edge_mask(graph).flatten().nonzero().flatten()
    edges = torch.zeros(len(graph.sources) * len(graph.readers), dtype=torch.bool)
    edges[places[torch.randperm(len(places))[: int(share * len(places))]]] = True
    return PatchedRun(graph, edges.view(len(graph.sources), -1))


def reference(model: ResidualModel, piece: Microbatch) -> Reference:
    """Run the corrupt prompts of a microbatch."""
    return Reference(model, with_prefix(model, piece), Counterfactual(model, [piece], "corrupt"))


def measure(model: ResidualModel, early: Microbatch, late: Microbatch, rounds: int) -> list[Row]:
    """Measure a plain forward pass and each circuit's run, on prompts that differ early and on others."""
    with torch.no_grad():
        runs = [random_edges(model.graph, share) for share in TARGETS]
        tokens = early.batch.clean_prompts
        references = [reference(model, piece) for piece in (early, late)]
        work: list[Callable[[], object]] = [lambda: model.forward(tokens, {})]
        work += [lambda run=run, where=where: where.run(run) for where in references for run in runs]  # type: ignore[misc]
        seconds = [float("inf")] * len(work)
        for _ in range(rounds + 1):
            for place, function in enumerate(work):
                started = time.process_time()
                function()
                seconds[place] = min(seconds[place], time.process_time() - started)
        del references
        work.clear()
        memory = [peak_growth(lambda: model.forward(tokens, {}))]
        memory += [_memory(model, early, run) for run in runs]
    return _rows(seconds, memory)


def _memory(model: ResidualModel, piece: Microbatch, run: PatchedRun) -> float:
    fresh = reference(model, piece)
    return peak_growth(lambda: fresh.run(run))


def _rows(seconds: Sequence[float], memory: Sequence[float]) -> list[Row]:
    plain, n_runs = seconds[0], len(TARGETS)
    rows = [Row("plain forward", plain, 1.0, 1.0, 1.0, memory[0], 1.0, True)]
    for place, (share, target) in enumerate(TARGETS.items(), 1):
        ratio, late, space = (
            seconds[place] / plain,
            seconds[place + n_runs] / seconds[place],
            memory[place] / memory[0],
        )
        met = ratio <= target and late <= LATE_TARGET and space <= MEMORY_TARGET
        rows.append(Row(f"{share:.1%} of edges", seconds[place], ratio, target, late, memory[place], space, met))
    return rows


def table(rows: Sequence[Row]) -> str:
    """Format the rows as a Markdown table."""
    lines = [
        f"| run | CPU s | × plain | target | late × early (target {LATE_TARGET}) | peak MiB | × plain (target "
        f"{MEMORY_TARGET}) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.run} | {r.cpu_s:.2f} | {r.times_plain:.2f} | {r.target:.1f} | {r.late_times_early:.2f} | "
        f"{r.peak_mib:.0f} | {r.memory_times_plain:.2f} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--late", type=int, default=14, help="first position at which late prompts differ")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=0, eos_token_id=0)
    module = GPT2LMHeadModel(config).eval()
    model = eap_plugin.wrap_model(build_bridge_from_module(module, "GPT2LMHeadModel", hf_config=config))
    early, late = (
        Microbatch(random_batch(args.prompts, args.tokens, config.vocab_size, start), 1.0, n_prefix=start)
        for start in (0, args.late)
    )
    rows = model.run(measure, early, late, args.rounds)
    print(json.dumps([asdict(row) for row in rows], indent=2) if args.json else table(rows))
    sys.exit(not all(row.met for row in rows))


if __name__ == "__main__":
    main()
