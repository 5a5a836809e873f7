"""This package, on ``TransformerBridge``."""

from __future__ import annotations

from safetensors.torch import load_file
from torch import Tensor
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformers import GPT2LMHeadModel
from worker import STEPS, folder, prompts, serve

import eap_plugin
from eap_plugin import Batch, PruneScores


def main() -> None:
    data = prompts()
    module = GPT2LMHeadModel.from_pretrained(folder()).requires_grad_(False)
    model = eap_plugin.wrap_model(build_bridge_from_module(module, "GPT2LMHeadModel", hf_config=module.config))
    batch = Batch(data["clean"], data["corrupt"], data["answers"], data["wrong"])

    def evaluated(n_edges: int) -> Tensor:
        scores = PruneScores(model.graph, load_file(folder() / "scores.safetensors")["scores"])
        found = eap_plugin.evaluate(model, batch, eap_plugin.select(scores, edges=n_edges), resamples=0)
        return found.points[0].metric

    n_edges = model.graph.n_edges
    serve(
        {
            "eap": lambda: eap_plugin.prune_scores(model, batch).matrix,
            "eap-ig-inputs": lambda: (
                eap_plugin.prune_scores(model, batch, algorithm="eap-ig-inputs", steps=STEPS).matrix
            ),
            "evaluate, 1 %": lambda: evaluated(n_edges // 100),
            "evaluate, 10 %": lambda: evaluated(n_edges // 10),
        }
    )


main()
