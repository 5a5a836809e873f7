"""EAP-IG: EAP, EAP-IG-inputs and ``evaluate_graph``; on token ids in place of text, and on the CPU."""

from __future__ import annotations

from typing import Any

import eap.attribute
import eap.evaluate
import torch
from eap.graph import Graph
from safetensors.torch import load_file
from torch import Tensor
from worker import STEPS, folder, hooked, prompts, serve

_ZEROS = torch.zeros


def _zeros(*shape: Any, device: Any = None, **how: Any) -> Tensor:
    """Make zeros on the CPU where EAP-IG asks for CUDA."""
    return _ZEROS(*shape, device="cpu" if device == "cuda" else device, **how)


def _as_tokenized(model: Any, tokens: Tensor, max_length: int | None = None) -> tuple[Tensor, None, Tensor, int]:
    """Return token ids as if a text had been tokenized, in place of ``tokenize_plus``."""
    n_prompts, n_pos = tokens.shape
    return tokens, None, torch.full((n_prompts,), n_pos), n_pos


def main() -> None:
    torch.zeros = _zeros
    for module in (eap.attribute, eap.evaluate):
        module.tokenize_plus = _as_tokenized
    data, model = prompts(), hooked()
    answers = torch.cat([data["answers"], data["wrong"]], 1)
    loader = [(data["clean"], data["corrupt"], answers)]
    n_prompts = len(answers)

    def difference(logits: Tensor, clean_logits: Tensor, lengths: Tensor, label: Tensor) -> Tensor:
        right, wrong = logits[:, -1].gather(1, label).unbind(1)
        return right - wrong

    def loss(*given: Tensor) -> Tensor:
        return -difference(*given).mean()

    def scores(method: str, **how: Any) -> Tensor:
        graph = Graph.from_model(model)
        eap.attribute.attribute(model, graph, loader, loss, method, quiet=True, **how)
        found: Tensor = graph.scores * n_prompts
        return found

    def evaluated(n_edges: int) -> Tensor:
        graph = Graph.from_model(model)
        graph.scores[:] = load_file(folder() / "scores.safetensors")["scores"]
        graph.apply_topn(n_edges, absolute=True, prune=True)
        found: Tensor = eap.evaluate.evaluate_graph(model, graph, loader, difference, quiet=True)
        return found

    n_real = int(Graph.from_model(model).real_edge_mask.sum())
    serve(
        {
            "EAP": lambda: scores("EAP"),
            "EAP-IG-inputs": lambda: scores("EAP-IG-inputs", ig_steps=STEPS),
            "evaluate_graph, 1 %": lambda: evaluated(n_real // 100),
            "evaluate_graph, 10 %": lambda: evaluated(n_real // 10),
        }
    )


main()
