"""TransformerLens 4's ``TransformerBridge``, raw or in compatibility mode, as a ``ResidualModel``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, cast

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from eap_plugin.backend.hf_norm import norm_form, norm_of
from eap_plugin.backend.hooks import Attach, at_hook_point, visiting
from eap_plugin.backend.state import frozen_modules
from eap_plugin.backend.transformer_lens.original import compare
from eap_plugin.errors import EapPluginError
from eap_plugin.graph import Graph
from eap_plugin.norm import Norm
from eap_plugin.residual import Layer, ResidualModel, Site, SourceComparison, Visitor, sites_of

_FLAGS = ("use_attn_result", "use_split_qkv_input", "use_attn_in", "use_hook_mlp_in")


_MLP_PARTS: dict[Site, tuple[str, str]] = {
    "mlp_gate": ("gate", "hook_out"),
    "mlp_pre": ("in", "hook_out"),
    "mlp_post": ("out", "hook_in"),
    "mlp_proj": ("out", "hook_out"),
}


class BridgeModel(ResidualModel):
    """A ``TransformerBridge``: hook points for the sites, its components' weights for the layers."""

    def __init__(self, bridge: Any, **about: Any) -> None:
        """Wrap a bridge.

        Raises:
            EapPluginError: if it is not a decoder of plain attention blocks, naming what was not found.
        """
        self.bridge = bridge
        self._blocks = list(bridge.blocks) if hasattr(bridge, "blocks") else []
        for layer, block in enumerate(self._blocks):
            for part in ("q", "k", "v", "o"):
                if getattr(getattr(block, "attn", None), part, None) is None:
                    raise _unsupported(bridge, f"block {layer} has no attn.{part}")
        if not self._blocks:
            raise _unsupported(bridge, "it has no list of blocks")
        self._layers = [self._read_layer(block) for block in self._blocks]
        if bridge.compatibility_mode:
            _check_value_biases(self._blocks, self._layers)
        super().__init__(graph=self._read_graph(), **about)

    def _read_graph(self) -> Graph:
        block, layer = self._blocks[0], self._layers[0]
        heads = {(len(x.W_Q), len(x.W_K)) for x in self._layers}
        if len(heads) != 1:
            raise _unsupported(self.bridge, f"its layers differ in their numbers of heads: {sorted(heads)}")
        return Graph(
            n_layers=len(self._blocks),
            n_heads=len(layer.W_Q),
            n_kv_heads=len(layer.W_K),
            parallel=_is_parallel(block),
            has_mlp=hasattr(block, "mlp"),
        )

    def _read_layer(self, block: Any) -> Layer:
        attn, d_head = block.attn, int(self.bridge.cfg.d_head)

        def heads_in(linear: Any) -> tuple[Tensor, Tensor | None]:
            weight, bias = _weight_and_bias(linear)
            return (
                weight.view(len(weight), -1, d_head).transpose(0, 1),
                None if bias is None else bias.view(-1, d_head),
            )

        (W_Q, b_Q), (W_K, b_K), (W_V, b_V) = heads_in(attn.q), heads_in(attn.k), heads_in(attn.v)
        W_O, b_O = _weight_and_bias(attn.o)
        ln1, ln2 = _part(block, "ln1"), _part(block, "ln2")
        return Layer(
            W_Q=W_Q, W_K=W_K, W_V=W_V, W_O=W_O.reshape(-1, d_head, W_O.shape[1]),
            b_Q=b_Q, b_K=b_K, b_V=b_V, b_O=b_O,
            attn_norm=_norm(ln1),
            mlp_norm=_norm(ln2 if ln2 is not None or not _is_parallel(block) else ln1),
            attn_post_norm=_norm(_part(block, "ln1_post")),
            mlp_post_norm=_norm(_part(block, "ln2_post")),
        )  # fmt: skip

    def parameter(self) -> Tensor:
        """See ``ResidualModel.parameter``."""
        parameter: Tensor = next(self.bridge.original_model.parameters())
        return parameter

    def modules(self) -> Sequence[nn.Module]:
        """See ``ResidualModel.modules``; the wrapped model is not among the bridge's own."""
        return (self.bridge, self.bridge.original_model)

    @property
    def layers(self) -> Sequence[Layer]:
        """Each block's projections and norms."""
        return self._layers

    @property
    def final_norm(self) -> Norm | None:
        """See ``ResidualModel.final_norm``."""
        return _norm(self.bridge.ln_final)

    @property
    def sites(self) -> frozenset[Site]:
        """See ``ResidualModel.sites``."""
        mlp = getattr(self._blocks[0], "mlp", None)
        parts = set() if mlp is None else set(mlp.submodules)
        return sites_of(self.graph.has_mlp, hidden={"in", "out"} <= parts, gated="gate" in parts)

    def forward(
        self,
        tokens: Int[Tensor, "batch pos"],
        visit: Mapping[Site, Visitor],
        *,
        attention_mask: Bool[Tensor, "batch pos"] | None = None,
        last: Int[Tensor, "batch"] | None = None,
    ) -> Float[Tensor, "batch vocab"]:
        """See ``ResidualModel.forward``."""
        self._check_sites(visit)
        mask = {} if attention_mask is None else {"attention_mask": attention_mask.long()}
        with visiting(self._places, visit, self.bridge.unembed, last, len(self._blocks)):
            logits = self.bridge(tokens, return_type="logits", **mask)
        return cast(Tensor, logits[0])

    def compare_with_source(
        self, tokens: Int[Tensor, "batch pos"], attention_mask: Bool[Tensor, "batch pos"] | None
    ) -> SourceComparison:
        """See ``ResidualModel.compare_with_source``."""
        return compare(self.bridge, tokens, attention_mask)

    def _places(self, site: Site) -> Iterator[tuple[int, Attach]]:
        if site == "embed":
            yield 0, at_hook_point(self._blocks[0].hook_in)
        elif site == "final":
            yield len(self._blocks) - 1, at_hook_point(self.bridge.ln_final.hook_in)
        else:
            for layer, block in enumerate(self._blocks):
                yield layer, at_hook_point(_hook_point(block, site))

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """See ``ResidualModel.frozen``; TransformerLens' flags that change what hooks see are off, too."""
        on = [flag for flag in _FLAGS if getattr(self.bridge.cfg, flag, False)]
        self._layers = [self._read_layer(block) for block in self._blocks]  # the weights may have changed since
        with frozen_modules(*self.modules()):
            try:
                for flag in on:
                    getattr(self.bridge, f"set_{flag}")(False)
                yield
            finally:
                for flag in on:
                    getattr(self.bridge, f"set_{flag}")(True)


def _check_value_biases(blocks: Sequence[Any], layers: Sequence[Layer]) -> None:
    """Refuse a model whose value biases, folded into the output bias, were not the same for every token.

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
        reason = "the norm after attention scales them differently in each run, so heads are not the model's own"
    elif any(getattr(block.attn.original_component, "sinks", None) is not None for block in blocks):
        reason = "attention sinks make patterns that do not add up to 1, so the model computes another function"
    else:
        return
    raise EapPluginError(
        f"compatibility mode has folded the value biases into the output bias, but here {reason}; "
        f"call enable_compatibility_mode(fold_value_biases=False), or leave it out"
    )


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
        return getattr(block.mlp.submodules[part], hook)
    for norm in ("ln2", "ln1") if _is_parallel(block) else ("ln2",):
        if _part(block, norm) is not None:
            return getattr(block, norm).hook_in
    return block.mlp.hook_in


def _is_parallel(block: Any) -> bool:
    return "Parallel" in type(block).__name__


def _part(block: Any, name: str) -> Any:
    return block.submodules.get(name) if name in getattr(block, "_modules", {}) else None


def _weight_and_bias(linear: Any) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """A projection's weight as [in, out] and its bias."""
    module = linear.original_component
    weight = module.weight.detach()
    bias = getattr(module, "bias", None)
    return weight.T if isinstance(module, nn.Linear) else weight, None if bias is None else bias.detach()


def _norm(component: Any) -> Norm | None:
    form = None if component is None else norm_form(component)
    return None if form is None else norm_of(form, component.original_component)


def _unsupported(bridge: Any, what: str) -> EapPluginError:
    architecture = getattr(bridge.cfg, "architecture", None) or type(bridge).__name__
    return EapPluginError(
        f"{architecture} is not a decoder of attention blocks with q, k, v and o projections: {what}; "
        f"edge scores are not defined for it"
    )
