"""From prompts to a judged circuit: score, select, evaluate, and save what other tools read.

    python examples/find_circuit.py [MODEL] [--task TASK] [--prompts N] [--faithfulness F] [--into FOLDER]

MODEL is a shipped model (ioi-gpt2 by default), a folder that save_pretrained wrote, or a name on the Hugging Face hub.

1. Score every edge on some prompts, and keep sums over groups of prompts, for standard errors.
2. Find the smallest circuit that has the wanted faithfulness on other prompts of the same task.
3. Evaluate it beside random circuits of the same size, and see what is left without it.
4. Save scores, circuit and evaluation.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import eap_plugin


def main() -> None:
    """Run the steps, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="ioi-gpt2")
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--faithfulness", type=float, default=0.9)
    parser.add_argument("--into", type=Path, default=Path())
    given = parser.parse_args()

    model = eap_plugin.load_model(given.model)
    task = eap_plugin.load_task(given.task, model, n_prompts=given.prompts)
    scores = eap_plugin.prune_scores(model, task, groups=16)
    print(f"{int(scores.significant(0.05).sum())} of {scores.n_edges} edges have an established sign; the strongest:")
    for edge in scores.top(5):
        print(f"  {edge.name:20} {edge.score:+.3f} ± {edge.stderr:.3f}")

    circuit = eap_plugin.find_circuit(model, task, scores, given.faithfulness, method="greedy")
    found = circuit.metadata["found"]
    print(f"{circuit}: faithfulness {found['faithfulness']:.3f} on {found['n_prompts']} held-out prompts")

    alone = eap_plugin.evaluate(model, task, circuit, random=20)
    without = eap_plugin.evaluate(model, task, circuit, complement=True)
    print(alone.table())
    print(f"faithfulness of all the rest, with the circuit alone corrupted: {without.faithfulness:.3f}")

    scores.save(given.into / "scores.safetensors")
    circuit.save(given.into / "circuit.json")
    alone.save(given.into / "evaluation.json")


if __name__ == "__main__":
    main()
