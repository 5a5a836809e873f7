"""Measure what one more circuit costs in an evaluation, next to a plain forward pass, on GPT-2-small's shape.

    python benchmarks/bench_evaluation.py [--rounds 5] [--prompts 16] [--tokens 20] [--threads 1] [--json]

Circuits are of random edges, and the prompts differ from their first token on. All take turns in one process; the
number is the smallest processor time over the rounds. Memory is the growth of the resident size during the first run,
beyond the recorded reference run and what earlier runs left to be used again. Exits with 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import torch
from peak_memory import peak_growth
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import GPT2Config, GPT2LMHeadModel

import eap_plugin
from eap_plugin.circuits.evaluation.program import PatchedRun, Reference
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.interventions.counterfactual import Counterfactual
from eap_plugin.model.edge_matrix import edge_mask
from eap_plugin.model.graph import Graph
from eap_plugin.model.residual_model import ResidualModel

TARGETS = {0.001: 1.3, 0.01: 1.5, 0.1: 2.0, 0.99: 1.3}
"""By share of edges in the circuit, the most that its run may take, in multiples of a plain forward pass."""

PLAIN = "plain forward"


def random_edges(graph: Graph, share: float) -> PatchedRun:
    """Return a circuit of random edges."""
    places = edge_mask(graph).flatten().nonzero().flatten()
    edges = torch.zeros(len(graph.sources) * len(graph.readers), dtype=torch.bool)
    edges[places[torch.randperm(len(places))[: int(share * len(places))]]] = True
    return PatchedRun(graph, edges.view(len(graph.sources), -1))


def measure(model: ResidualModel, batch: Batch, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the processor seconds and the peak memory in MiB of a plain forward pass and of each circuit's run."""
    with torch.no_grad():
        reference = Reference(model, batch, Counterfactual(model, [Microbatch(batch, 1.0)], "corrupt"))
        work: dict[str, Callable[[], object]] = {PLAIN: lambda: model.forward(batch.clean_prompts, {})}
        for share in TARGETS:
            run = random_edges(model.graph, share)
            work[f"{share:.1%} of the edges"] = lambda run=run: reference.run(run)  # type: ignore[misc]
        memory = {name: peak_growth(function) for name, function in work.items()}
        seconds = dict.fromkeys(work, float("inf"))
        for _ in range(rounds):
            for name, function in work.items():
                started = time.process_time()
                function()
                seconds[name] = min(seconds[name], time.process_time() - started)
    return {name: (seconds[name], memory[name]) for name in work}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    config = GPT2Config(bos_token_id=0, eos_token_id=0)
    module = GPT2LMHeadModel(config).eval()
    model = eap_plugin.wrap_model(build_bridge_from_module(module, "GPT2LMHeadModel", hf_config=config))
    ids = torch.randint(config.vocab_size, (4, args.prompts, args.tokens))
    found = model.run(measure, Batch(ids[0], ids[1], ids[2, :, :1], ids[3, :, :1]), args.rounds)
    plain = found[PLAIN][0]
    targets = [1.0, *TARGETS.values()]
    ratios = {name: seconds / plain for name, (seconds, _) in found.items()}
    if args.json:
        rows = [
            {"run": name, "cpu_s": seconds, "ratio": ratios[name], "target": target, "peak_mib": memory}
            for (name, (seconds, memory)), target in zip(found.items(), targets, strict=True)
        ]
        print(json.dumps(rows, indent=2))
    else:
        print("| run | CPU s | × plain | target | peak MiB |\n| --- | ---: | ---: | ---: | ---: |")
        for (name, (seconds, memory)), target in zip(found.items(), targets, strict=True):
            print(f"| {name} | {seconds:.2f} | {ratios[name]:.2f} | {target:.1f} | {memory:.0f} |")
    sys.exit(any(ratio > target for ratio, target in zip(ratios.values(), targets, strict=True)))


if __name__ == "__main__":
    main()
