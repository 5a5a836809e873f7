"""Score the edges of a model on an NDIF server, and measure how faithful a circuit of the strongest edges is.

    python examples/remote_ndif.py MODEL [--server http://host:port] [--task ioi] [--prompts 32]

MODEL is the name or path under which the server has the model; its weights are not loaded here. Without --server, the
server that nnsight is configured for (NDIF_HOST, NDIF_API_KEY) is used, by default NDIF's own.
"""

from __future__ import annotations

import argparse

import eap_plugin


def main() -> None:
    """Score the model, and print how much data was sent and received."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--server", default=True)
    parser.add_argument("--task", default="ioi")
    parser.add_argument("--prompts", type=int, default=32)
    args = parser.parse_args()

    model = eap_plugin.load_model(args.model, backend="nnsight", remote=args.server)
    task = eap_plugin.load_task(args.task, model, n_prompts=args.prompts)
    scores = eap_plugin.prune_scores(model, task, status=print)
    for edge in scores.top(5):
        print(f"{edge.name:20} {edge.score:+.3f}")
    kept = eap_plugin.evaluate(model, task, eap_plugin.select(scores, fraction=0.1), status=print)
    print(f"a tenth of the edges preserves {kept.faithfulness:.0%}")
    traffic = scores.metadata["remote"]
    print(f"{traffic['bytes_sent']} bytes sent, {traffic['bytes_received']} received, {traffic['seconds']:.1f} s")


if __name__ == "__main__":
    main()
