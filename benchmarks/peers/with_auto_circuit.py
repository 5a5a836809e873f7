"""AutoCircuit: the gradient of masks, its fast path, and the function that it was seeded from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auto_circuit.data import PromptDataLoader, PromptDataset
from auto_circuit.prune_algos.edge_attribution_patching import edge_attribution_patching_prune_scores
from auto_circuit.prune_algos.mask_gradient import mask_gradient_prune_scores
from auto_circuit.utils.graph_utils import patchable_model
from torch import Tensor
from worker import hooked, prompts, serve

from eap_plugin.model.graph import Graph
from eap_plugin.results.export import from_modules


def main() -> None:
    data = prompts()
    model = patchable_model(hooked(), factorized=True, slice_output="last_seq", separate_qkv=True, device="cpu")
    pairs = PromptDataset(data["clean"], data["corrupt"], list(data["answers"]), list(data["wrong"]))
    loader = PromptDataLoader(pairs, seq_len=None, diverge_idx=0, batch_size=len(data["clean"]), shuffle=False)
    graph = Graph(model.cfg.n_layers, model.cfg.n_heads, model.cfg.n_heads)

    def scores(prune: Callable[..., Any], **how: Any) -> Tensor:
        return from_modules(graph, prune(model, loader, None, **how)).float()

    serve(
        {
            "mask_gradient": lambda: scores(
                mask_gradient_prune_scores, grad_function="logit", answer_function="avg_diff", mask_val=0.0
            ),
            "seed function": lambda: scores(edge_attribution_patching_prune_scores),
        }
    )


main()
