"""TransformerLens 4: its own attribution patching of edges, which runs one prompt pair at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from transformer_lens.model_bridge.sources import build_bridge_from_module
from transformer_lens.tools.analysis.attribution_patching import EdgeAttributionConfig, attribution_patch
from transformers import GPT2LMHeadModel
from worker import folder, prompts, serve

import eap_plugin
from eap_plugin.integrations.transformer_lens import from_attribution_patch


def main() -> None:
    data = prompts()
    module = GPT2LMHeadModel.from_pretrained(folder())
    model = build_bridge_from_module(module, "GPT2LMHeadModel", hf_config=module.config)
    graph = eap_plugin.wrap_model(model).graph
    edges = EdgeAttributionConfig(granularity="edge")

    def scores() -> Tensor:
        total = []
        for clean, corrupt, right, wrong in zip(
            *(data[n] for n in ("clean", "corrupt", "answers", "wrong")), strict=True
        ):

            def difference(logits: Tensor, right: Tensor = right, wrong: Tensor = wrong) -> Tensor:
                return (logits[:, -1, right] - logits[:, -1, wrong]).mean()

            found = attribution_patch(model, corrupt[None], clean[None], difference, edges)
            total.append(from_attribution_patch(found, graph, swapped=True).sum_positions().matrix)
        return torch.stack(total).mean(0)

    serve({"attribution_patch": scores})


main()
