"""An nnsight model as a ``ResidualModel``.

Each forward pass is one trace, in which the places of the plan are visited in order: the value at a module's input or
output is given to the visitors of the sites there and replaced by what they return. This module imports neither nnsight
nor TransformerLens, because servers run it and need not have TransformerLens: the plan says where everything is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from eap_plugin.backend.attention_hooks import visiting_attention
from eap_plugin.backend.calls import CalledOnce
from eap_plugin.backend.freezing import frozen_modules
from eap_plugin.backend.kv_cache import cache_of, prefix_of
from eap_plugin.backend.nnsight.plan import Place, Plan, Visit
from eap_plugin.backend.nnsight.weights import read_layer, read_norm
from eap_plugin.backend.offloading import LayersOnDemand, input_device, is_offloaded
from eap_plugin.data.prompts import Prefix, Prompts
from eap_plugin.errors import EapPluginError
from eap_plugin.model.layer import Layer
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor, sites_of

_CHANGED_IN_PLACE: tuple[Site, ...] = ("q", "k", "v", "attn_out", "mlp_proj", "mlp_out")


class NNsightModel(ResidualModel):
    """An nnsight model, with a plan that says where its sites and weights are."""

    def __init__(self, envoy: Any, plan: Plan, info: ModelInfo) -> None:
        """Wrap a model; if its weights are not loaded yet, they are when they are first needed."""
        self.envoy, self.plan = envoy, plan
        self._layers: Sequence[Layer] = []
        ResidualModel.__init__(self, plan.graph, info)

    def parameter(self) -> Tensor:
        """See ``ResidualModel.parameter``."""
        parameter: Tensor = next(self._loaded().parameters())
        return parameter

    @property
    def device(self) -> torch.device:
        """See ``ResidualModel.device``."""
        return input_device(self._loaded())

    def _loaded(self) -> Any:
        """Return the Hugging Face model, after loading its weights if necessary."""
        if not getattr(self.envoy, "dispatched", True):
            self.envoy.dispatch()
        return self.envoy._module

    def modules(self) -> Sequence[nn.Module]:
        """See ``ResidualModel.modules``."""
        return (self._loaded(),)

    @property
    def layers(self) -> Sequence[Layer]:
        """Each block's projections and norms, read once per run; those that are offloaded, whenever they are needed."""
        if not self._layers:
            model = self._loaded()
            layers = LayersOnDemand(
                len(self.plan.layers), lambda index: read_layer(model, self.plan.layers[index], self.plan.d_head)
            )
            self._layers = layers if is_offloaded([model]) else list(layers)
        return self._layers

    @property
    def final_norm(self) -> Norm | None:
        """See ``ResidualModel.final_norm``."""
        return read_norm(self._loaded(), self.plan.final_norm)

    @property
    def sites(self) -> frozenset[Site]:
        """See ``ResidualModel.sites``."""
        visits = [visit.site for place in self.plan.places for visit in place.visits]
        everywhere = {site for site in visits if visits.count(site) == self.graph.n_layers}
        return sites_of(self.graph.has_mlp, hidden="mlp_pre" in everywhere, gated="mlp_gate" in everywhere)

    def frozen(self) -> AbstractContextManager[None]:
        """See ``ResidualModel.frozen``."""
        self._layers = []
        return frozen_modules(*self.modules())

    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """See ``ResidualModel.forward``."""
        return self._run(prompts, visit, None if prompts.prefix is None else cache_of(prompts.prefix), len(prompts))

    def _prefix(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Prefix | None:
        """See ``ResidualModel.prefix``."""
        cache = DynamicCache()
        self._run(prompts, visit, cache, n_logits=1)
        return prefix_of(cache, prompts, self.graph.n_layers)

    def _run(
        self, prompts: Prompts, visit: Mapping[Site, Visitor], cache: Cache | None, n_logits: int
    ) -> Float[Tensor, "n_logits vocab"]:
        """Run the model in one trace, and return the logits of the first ``n_logits`` prompts."""
        inputs = self._inputs(prompts, cache)
        places = [place for place in self.plan.places if any(here.site in visit for here in place.visits)]
        model = self._loaded()
        called_once = CalledOnce({place.path: model.get_submodule(place.path) for place in places})
        logits: list[Tensor] = []  # filled inside the trace: other local variables are lost on exit
        try:
            with called_once, visiting_attention(visit, self.graph.n_layers), self.envoy.trace(**inputs):
                for place in places:
                    self._visit_place(place, visit, prompts.tokens.shape)
                unembed = _part(self.envoy, self.plan.unembed)
                kept = _keep_last(unembed.input, prompts.last)[:, :n_logits]
                unembed.input = _call(visit, "unembed", self.graph.n_layers - 1, kept)
                logits.append(self.envoy.output[0])
        except Exception as error:
            if type(error).__name__ != "OutOfOrderError":
                raise
            raise EapPluginError(
                f"{self.name} does not compute its parts in the order of a decoder's blocks, or skips some: {error}"
            ) from error
        return logits[0][0]

    def _inputs(self, prompts: Prompts, cache: Cache | None) -> dict[str, Any]:
        """Return the model's inputs; for padded prompts, with the mask and positions that count real tokens only."""
        inputs: dict[str, Any] = {"input_ids": prompts.tokens, "use_cache": cache is not None}
        if cache is not None:
            inputs["past_key_values"] = cache
        mask = prompts.whole_mask
        if mask is not None:
            inputs["attention_mask"] = mask.long()
            if self.plan.takes_positions:
                positions = (mask.long().cumsum(-1) - 1).clamp_min(0)
                inputs["position_ids"] = positions[:, -prompts.tokens.shape[1] :]
        return inputs

    def _visit_place(self, place: Place, visit: Mapping[Site, Visitor], tokens: torch.Size) -> None:
        """Call the visitors of a place's sites, and replace the value there by what they return."""
        module = _part(self.envoy, place.path)
        if place.at == "input":
            module.input = self._visited(place, visit, module.input, tokens)
            return
        output = module.output
        if isinstance(output, tuple):
            module.output = (self._visited(place, visit, output[0], tokens), *output[1:])
        else:
            module.output = self._visited(place, visit, output, tokens)

    def _visited(self, place: Place, visit: Mapping[Site, Visitor], value: Tensor, tokens: torch.Size) -> Tensor:
        """Return a value after its visitors, in its own shape: some models flatten batch and position into one axis."""
        x = value.view(*tokens, value.shape[-1])
        if place.visits[0].heads:
            x = self._visit_heads(place, visit, x)
        else:
            for here in place.visits:
                if here.site in visit:
                    x = _call_part(visit, here, place.layer, x)
        # The block may change these in place, and the visitor may keep what it saw: so the block gets a copy.
        return (x.clone() if place.visits[-1].site in _CHANGED_IN_PLACE else x).reshape(value.shape)

    def _visit_heads(
        self, place: Place, visit: Mapping[Site, Visitor], x: Float[Tensor, "batch pos width"]
    ) -> Float[Tensor, "batch pos width"]:
        heads = torch.unflatten(x, -1, (-1, self.plan.d_head))
        if len(place.visits) == 1:
            return _call(visit, place.visits[0].site, place.layer, heads).flatten(2)
        pieces = list(heads.unbind(2))
        for here in place.visits:
            if here.site in visit:
                new = _call(visit, here.site, place.layer, torch.stack([pieces[i] for i in here.heads], 2))
                for i, piece in zip(here.heads, new.unbind(2), strict=True):
                    pieces[i] = piece
        return torch.stack(pieces, 2).flatten(2)


def _part(envoy: Any, path: str) -> Any:
    """Return the envoy at a module path, also for modules whose name nnsight uses itself (such as ``output``)."""
    for name in path.split("."):
        envoy = envoy._child_map[name]
    return envoy


def _call(visit: Mapping[Site, Visitor], site: Site, layer: int, value: Tensor) -> Tensor:
    """Call the visitor of a site, if any, and return its value or the unchanged one.

    The visitor gets a view, and the model continues with that view even if the visitor does not replace it. So the
    gradient of what the visitor saw is that of this site alone, also where two sites share a tensor.
    """
    if site not in visit:
        return value
    value = value.view_as(value)
    new = visit[site](layer, value)
    return value if new is None else new


def _call_part(visit: Mapping[Site, Visitor], here: Visit, layer: int, value: Tensor) -> Tensor:
    """Call the visitor of a site that is some columns, or a multiple, of a module's value; return the new value."""
    if here.columns is not None:
        start, stop = here.columns
        part = _call(visit, here.site, layer, value[..., start:stop])
        return torch.cat([value[..., :start], part, value[..., stop:]], -1)
    if here.scale != 1:
        return _call(visit, here.site, layer, value * here.scale) / here.scale
    return _call(visit, here.site, layer, value)


def _keep_last(
    x: Float[Tensor, "batch pos d_model"], last: Int[Tensor, "batch"] | None
) -> Float[Tensor, "1 batch d_model"]:
    """Select the positions whose logits are needed, as one row, so that unembedding is one matrix product."""
    kept = x[:, -1] if last is None else x[torch.arange(len(x), device=x.device), last.to(x.device)]
    return kept[None]
