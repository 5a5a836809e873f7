"""Names of modules that read what attention reads but are not in the graph, for the self-check's report."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from eap_plugin.data.prompts import Prompts
from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site

_SITES: tuple[Site, ...] = ("attn_in", "attn")


def other_readers(model: ResidualModel, prompts: Prompts, layer: int) -> list[str]:
    """List the modules, besides q, k and v, that read what attention reads in a layer, before or after its norm.

    Only modules with a weight matrix are listed. In a parallel block, this includes the MLP's input projections.
    """
    known = {W.untyped_storage().data_ptr() for W in _projections(model, layer)}
    recorder, found = SiteRecorder(), dict[str, Tensor]()

    def note(name: str) -> Callable[[nn.Module, tuple[object, ...]], None]:
        def hook(module: nn.Module, args: tuple[object, ...]) -> None:
            if args and isinstance(args[0], Tensor):
                found[name] = args[0].detach()

        return hook

    named = {id(module): (name, module) for root in model.modules() for name, module in nn.Module.named_modules(root)}
    handles = []
    for name, module in named.values():
        weight = module._parameters.get("weight")
        if weight is not None and weight.ndim == 2 and weight.untyped_storage().data_ptr() not in known:
            handles.append(module.register_forward_pre_hook(note(name.replace("._original_component", ""))))
    try:
        model.forward(prompts, recorder.visitors(*_SITES))
    finally:
        for handle in handles:
            handle.remove()
    read = [recorder.values[site, layer] for site in _SITES]
    return sorted({name for name, value in found.items() if any(_same(value, other) for other in read)})


def _projections(model: ResidualModel, layer: int) -> list[Tensor]:
    weights = model.layers[layer]
    return [weights.W_Q, weights.W_K, weights.W_V]


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
