"""TransformerLens 4's ``TransformerBridge``, raw or in compatibility mode, as a ``ResidualModel``.

A bridge wraps a Hugging Face model: each module is replaced by a component that holds it and has hook points around it.

1. On wrapping, the blocks are checked for q, k, v and o projections, and models are refused whose weights or residual
   stream do not allow edge scores (quantised activations, post-norm, value biases folded where that changes heads).
2. The weights of each layer are read from the Hugging Face modules inside the components, and read again whenever a run
   starts, because they may have changed in between.
3. ``_hook_point`` maps each site to a hook point of a block. Where a block has no norm, or attention and MLP share one
   norm, the site is at the next module that reads the same value.
4. ``forward`` attaches the visitors to these hook points, runs the bridge and removes them again.
5. ``frozen`` also turns off the flags of TransformerLens that change what hooks see, such as ``use_split_qkv_input``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakSet

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicCache

from eap_plugin.backend.effective_weight import MERGE, active_adapters, effective_weight, require_gradients
from eap_plugin.backend.freezing import frozen_modules
from eap_plugin.backend.gate import Hidden, hidden_layer
from eap_plugin.backend.hf_config import UNEMBED, clip_of, require_a_residual_stream, residual_multiplier
from eap_plugin.backend.hf_norm import norm_form, norm_of
from eap_plugin.backend.kv_cache import cache_of, prefix_of
from eap_plugin.backend.module_hooks import Attach, at_columns, at_hook_point, at_input, copied_for_model, visiting
from eap_plugin.backend.offloading import LayersOnDemand, input_device, is_offloaded
from eap_plugin.backend.transformer_lens.original import compare
from eap_plugin.data.prompts import Prefix, Prompts
from eap_plugin.errors import EapPluginError
from eap_plugin.model.graph import Graph
from eap_plugin.model.layer import Layer, scaled
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import ResidualModel, SourceComparison
from eap_plugin.model.sites import Site, Visitor, sites_of

_RUN_BEFORE: WeakSet[nn.Module] = WeakSet()
"""The bridges that were run at least once, whereupon TransformerLens has added hooks of its own to them."""

_FLAGS = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")


_MLP_PARTS: dict[Site, tuple[str, str]] = {
    "mlp_gate": ("gate", "hook_out"),
    "mlp_pre": ("in", "hook_out"),
    "mlp_post": ("out", "hook_in"),
    "mlp_proj": ("out", "hook_out"),
}


class BridgeModel(ResidualModel):
    """A ``TransformerBridge``; its hook points are the sites, the weights in its components are the layers."""

    def __init__(self, bridge: Any, info: ModelInfo) -> None:
        """Wrap a bridge.

        Raises:
            EapPluginError: if it is not a decoder of attention blocks, naming the part that was not found.
        """
        self.bridge = bridge
        self._blocks = list(bridge.blocks) if hasattr(bridge, "blocks") else []
        for layer, block in enumerate(self._blocks):
            for part in ("q", "k", "v", "o"):
                if getattr(getattr(block, "attn", None), part, None) is None:
                    raise _unsupported(bridge, f"block {layer} has no attn.{part}")
        if not self._blocks:
            raise _unsupported(bridge, "it has no list of blocks")
        require_gradients(_named_modules(bridge))
        require_a_residual_stream(bridge.original_model)
        self._layers = self._read_layers()
        self._hidden = _hidden_of(self._blocks)
        if bridge.compatibility_mode:
            _check_value_biases(self._blocks, self._layers)
        super().__init__(self._read_graph(), info)

    def _read_graph(self) -> Graph:
        block, layer = self._blocks[0], self._layers[0]
        heads = {(len(x.W_Q), len(x.W_K)) for x in self._layers}
        if len(heads) != 1:
            raise _unsupported(self.bridge, f"its layers differ in number or size of heads: {sorted(heads)}")
        return Graph(
            n_layers=len(self._blocks),
            n_heads=len(layer.W_Q),
            n_kv_heads=len(layer.W_K),
            parallel=_is_parallel(block),
            has_mlp=hasattr(block, "mlp"),
        )

    def _read_layers(self) -> Sequence[Layer]:
        layers = LayersOnDemand(
            len(self._blocks), lambda layer: self._read_layer(f"blocks.{layer}", self._blocks[layer])
        )
        return layers if is_offloaded([self.bridge.original_model]) else list(layers)

    def _read_layer(self, path: str, block: Any) -> Layer:
        d_head = int(self.bridge.cfg.d_head)
        _check_fused(block, path)

        def weight_and_bias(part: str) -> tuple[Tensor, Tensor | None]:
            return effective_weight(getattr(block.attn, part).original_component, f"{path}.attn.{part}")

        def heads_in(part: str) -> tuple[Tensor, Tensor | None]:
            weight, bias = weight_and_bias(part)
            return (
                weight.reshape(len(weight), -1, d_head).transpose(0, 1),
                None if bias is None else bias.view(-1, d_head),
            )

        (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = heads_in("q"), heads_in("k"), heads_in("v")
        W_O, b_O = scaled(*weight_and_bias("o"), residual_multiplier(block.original_component))
        ln1, ln2 = _part(block, "ln1"), _part(block, "ln2")
        return Layer(
            W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O.reshape(-1, d_head, W_O.shape[1]),
            b_Q=b_Q, b_K=b_K, b_V=b_V, b_O=b_O,
            attn_norm=_norm(ln1),
            mlp_norm=_norm(ln2 if ln2 is not None or not _is_parallel(block) else ln1),
            attn_post_norm=_norm(_part(block, "ln1_post")),
            mlp_post_norm=_norm(_part(block, "ln2_post")),
            clip_qkv=clip_of(self.bridge.original_model),
        )  # fmt: skip

    def parameter(self) -> Tensor:
        """See ``ResidualModel.parameter``."""
        parameter: Tensor = next(self.bridge.original_model.parameters())
        return parameter

    @property
    def device(self) -> torch.device:
        """See ``ResidualModel.device``."""
        return input_device(self.bridge.original_model)

    def modules(self) -> Sequence[nn.Module]:
        """See ``ResidualModel.modules``; PyTorch does not list the wrapped model among the bridge's submodules."""
        return (self.bridge, self.bridge.original_model)

    @property
    def layers(self) -> Sequence[Layer]:
        """Each block's projections and norms."""
        return self._layers

    @property
    def final_norm(self) -> Norm | None:
        """See ``ResidualModel.final_norm``."""
        return _norm(getattr(self.bridge, "ln_final", None))

    @property
    def sites(self) -> frozenset[Site]:
        """See ``ResidualModel.sites``."""
        hidden = self._hidden
        return sites_of(self.graph.has_mlp, hidden=hidden.seen, gated=hidden.gated)

    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """See ``ResidualModel.forward``."""
        cache = None if prompts.prefix is None else cache_of(prompts.prefix)
        with visiting(self._places, visit, self._unembed, prompts.last, len(self._blocks)):
            logits = self._run(prompts, cache)
        return logits[0]

    def _prefix(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Prefix | None:
        """See ``ResidualModel.prefix``."""
        cache = DynamicCache()
        with ExitStack() as stack:
            stack.callback(at_input(self._unembed)(lambda x: x[:1, :1]))  # no logits are needed
            stack.enter_context(visiting(self._places, visit, self._unembed, None, len(self._blocks)))
            self._run(prompts, cache)
        return prefix_of(cache, prompts, len(self._blocks))

    def _run(self, prompts: Prompts, cache: Cache | None) -> Float[Tensor, "batch pos vocab"]:
        mask = prompts.whole_mask
        padding = {} if mask is None else {"attention_mask": mask.long()}
        logits: Tensor = self.bridge(prompts.tokens, return_type="logits", past_key_values=cache, **padding)
        return logits

    def compare_with_source(self, prompts: Prompts) -> SourceComparison:
        """See ``ResidualModel.compare_with_source``."""
        return compare(self.bridge, prompts)

    def _places(self, site: Site) -> Iterator[tuple[int, Attach]]:
        if site == "embed":
            yield 0, at_hook_point(self._blocks[0].hook_in)
        elif site == "final":
            yield len(self._blocks) - 1, at_hook_point(self._blocks[-1].hook_out)
        else:
            for layer, block in enumerate(self._blocks):
                yield layer, self._at(block, site)

    def _at(self, block: Any, site: Site) -> Attach:
        place = at_hook_point(_hook_point(block, site))
        if site in ("q", "k", "v") and self._layers[0].clip_qkv is not None:
            return copied_for_model(place)
        columns = self._hidden.columns(site)
        return place if columns is None else at_columns(place, columns)

    @property
    def _unembed(self) -> Any:
        """The first module after the final norm: a prediction head or projection, if any, else the unembedding."""
        return next(getattr(self.bridge, name) for name in UNEMBED if hasattr(self.bridge, name))

    def _norms(self) -> list[Any]:
        """Return the components of all norms that read or write the residual stream."""
        inside = [_part(block, name) for block in self._blocks for name in ("ln1", "ln1_post", "ln2", "ln2_post")]
        return [norm for norm in (*inside, getattr(self.bridge, "ln_final", None)) if norm is not None]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """See ``ResidualModel.frozen``; also turns off TransformerLens' flags that change what hooks see."""
        identities = [norm for norm in self._norms() if isinstance(norm.original_component, nn.Identity)]
        native = [norm.use_native_layernorm_autograd for norm in identities]
        on = [flag for flag in _FLAGS if getattr(self.bridge.cfg, flag, False)]
        self._layers = self._read_layers()  # the weights may have changed
        with frozen_modules(*self.modules()):
            try:
                for flag in on:
                    getattr(self.bridge, f"set_{flag}")(False)
                for norm in identities:  # else their components would apply the formula of a norm
                    norm.use_native_layernorm_autograd = True
                self._run_once()
                yield
            finally:
                for norm, flag in zip(identities, native, strict=True):
                    norm.use_native_layernorm_autograd = flag
                for flag in on:
                    getattr(self.bridge, f"set_{flag}")(True)

    def _run_once(self) -> None:
        """Run one token if the bridge was never run, so that hooks of TransformerLens do not look like a program's."""
        if self.bridge not in _RUN_BEFORE:
            with torch.no_grad():
                self.bridge(torch.zeros(1, 1, dtype=torch.long, device=self.device), return_type="logits")
            _RUN_BEFORE.add(self.bridge)


def _check_fused(block: Any, path: str) -> None:
    """Refuse adapters around a fused projection: TransformerLens drops them when it splits it into q, k and v."""
    fused = block.attn.submodules.get("qkv")
    names = [] if fused is None else active_adapters(fused.original_component, f"{path}.attn.qkv")
    if names:
        raise EapPluginError(
            f"TransformerBridge splits {path}.attn.qkv into q, k and v and drops the adapter {names[0]!r} around it; "
            f"{MERGE} before making the bridge, or use the backend nnsight"
        )


def _check_value_biases(blocks: Sequence[Any], layers: Sequence[Layer]) -> None:
    """Refuse folded value biases where folding changes which numbers the heads write.

    Folding moves what a value bias adds from the head to the bias of the output projection. That changes no score as
    long as it adds the same in every run. Where a norm scales it by the token, heads after folding are other writers
    than before; where attention patterns do not add up to 1, the model computes another function.

    Raises:
        EapPluginError: if they were folded in such a model.
    """
    folded = all(layer.b_V is not None and not layer.b_V.any() for layer in layers)
    if not folded:
        return
    if any(layer.attn_post_norm is not None for layer in layers):
        reason = "the norm after attention scales them differently in each run, so its heads are not the model's own"
    elif any(getattr(block.attn.original_component, "sinks", None) is not None for block in blocks):
        reason = "attention sinks make patterns that do not add up to 1, so it computes a different function"
    else:
        return
    raise EapPluginError(
        f"compatibility mode has folded the value biases into the output bias, but here {reason}; "
        f"call enable_compatibility_mode(fold_value_biases=False), or do not call it at all"
    )


def _hidden_of(blocks: Sequence[Any]) -> Hidden:
    """Return the structure of the MLPs' hidden layers; ``seen`` is false if it differs between blocks."""
    every = {_hidden_in(getattr(block, "mlp", None)) for block in blocks}
    return every.pop() if len(every) == 1 else Hidden(seen=False)


def _hidden_in(mlp: Any) -> Hidden:
    if mlp is None or not {"in", "out"} <= set(mlp.submodules):
        return Hidden(seen=False)
    parts = {name: mlp.submodules[name].original_component for name in ("gate", "in", "out") if name in mlp.submodules}
    split = hasattr(mlp, "split_gate_up_matrix") or mlp.name is None
    return hidden_layer(parts, None if split else mlp.original_component)


def _hook_point(block: Any, site: Site) -> Any:
    if site in ("q", "k", "v", "z"):
        return getattr(block.attn, f"hook_{site}")
    if site == "attn_in":
        return block.ln1.hook_in if _part(block, "ln1") is not None else block.attn.hook_in
    if site == "attn":
        return block.ln1.hook_out if _part(block, "ln1") is not None else block.attn.hook_in
    if site in ("attn_out", "mlp_out"):
        return getattr(block, f"hook_{site}")
    if site == "mlp":
        return block.mlp.hook_in
    if site in _MLP_PARTS:
        part, hook = _MLP_PARTS[site]
        part = part if part in block.mlp.submodules else "in"
        return getattr(block.mlp.submodules[part], hook)
    for norm in ("ln2", "ln1") if _is_parallel(block) else ("ln2",):
        if _part(block, norm) is not None:
            return getattr(block, norm).hook_in
    return block.mlp.hook_in


def _is_parallel(block: Any) -> bool:
    return "Parallel" in type(block).__name__


def _part(block: Any, name: str) -> Any:
    return block.submodules.get(name) if name in getattr(block, "_modules", {}) else None


def _named_modules(bridge: Any) -> Iterator[tuple[str, nn.Module]]:
    """Yield the modules of the wrapped model with their Hugging Face names, without the bridge's additions to them."""
    for name, module in nn.Module.named_modules(bridge.original_model):
        yield name.replace("._original_component", ""), module


def _norm(component: Any) -> Norm | None:
    form = None if component is None else norm_form(component)
    return None if form is None else norm_of(form, component.original_component)


def _unsupported(bridge: Any, what: str) -> EapPluginError:
    architecture = getattr(bridge.cfg, "architecture", None) or type(bridge).__name__
    return EapPluginError(
        f"{architecture} is not a decoder of attention blocks with q, k, v and o projections: {what}; "
        f"edge scores are not defined for it"
    )
