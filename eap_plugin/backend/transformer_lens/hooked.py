"""``HookedTransformer`` of TransformerLens 2 and 3 as a ``ResidualModel``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor, nn

from eap_plugin.backend.freezing import frozen_modules
from eap_plugin.backend.module_hooks import Attach, ValueHook, at_hook_point, at_input, at_output, visiting
from eap_plugin.data.prompts import Prompts
from eap_plugin.errors import EapPluginError
from eap_plugin.model.graph import Graph
from eap_plugin.model.layer import Layer
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor, sites_of

_UNGROUP = "ungroup_grouped_query_attention"
_FLAGS = (
    "use_attn_result",
    "use_split_qkv_input",
    "use_attn_in",
    "use_hook_mlp_in",
    _UNGROUP,
)


_HIDDEN: dict[tuple[Site, bool], str] = {
    ("mlp_pre", False): "pre",
    ("mlp_post", False): "post",
    ("mlp_gate", True): "pre",
    ("mlp_pre", True): "pre_linear",
    ("mlp_post", True): "post",
}
"""For each hidden-layer site, in an MLP without and with a gate, the name of TransformerLens' hook."""


class HookedModel(ResidualModel):
    """A ``HookedTransformer``; its hook points are the sites, its parameters are the layers."""

    def __init__(self, model: Any, info: ModelInfo, ungrouped: bool = False) -> None:
        """Wrap a model.

        Args:
            model: the model.
            info: what is known of it.
            ungrouped: with grouped-query attention, give every query head its own copy of its key and value head.

        Raises:
            EapPluginError: if it has a norm that is not supported.
        """
        self.model = model
        self._ungrouped = ungrouped
        cfg = model.cfg
        graph = Graph(
            n_layers=cfg.n_layers,
            n_heads=cfg.n_heads,
            n_kv_heads=cfg.n_heads if ungrouped else cfg.n_key_value_heads or cfg.n_heads,
            parallel=bool(cfg.parallel_attn_mlp) and not cfg.attn_only,
            has_mlp=not cfg.attn_only,
        )
        self._layers = self._read_layers()
        super().__init__(graph, info)

    def _read_layers(self) -> list[Layer]:
        return [_read_layer(block, self._ungrouped) for block in self.model.blocks]

    def parameter(self) -> Tensor:
        """See ``ResidualModel.parameter``."""
        parameter: Tensor = self.model.W_E
        return parameter

    def modules(self) -> Sequence[nn.Module]:
        """See ``ResidualModel.modules``."""
        return (self.model,)

    @property
    def layers(self) -> Sequence[Layer]:
        """Each block's projections and norms."""
        return self._layers

    @property
    def final_norm(self) -> Norm | None:
        """See ``ResidualModel.final_norm``."""
        return _norm(getattr(self.model, "ln_final", None))

    @property
    def sites(self) -> frozenset[Site]:
        """See ``ResidualModel.sites``."""
        mlp = getattr(self.model.blocks[0], "mlp", None)
        kind = type(mlp).__name__
        hidden = kind in ("MLP", "GatedMLP") and not hasattr(mlp, "hook_mid")
        return sites_of(self.graph.has_mlp, hidden, gated=kind == "GatedMLP")

    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """See ``ResidualModel.forward``."""
        mask = None if prompts.attention_mask is None else prompts.attention_mask.long()
        with visiting(self._places, visit, self.model.unembed, prompts.last, self.graph.n_layers):
            logits = self._run(prompts.tokens, mask)
        return logits[0]

    def _run(
        self, tokens: Int[Tensor, "batch pos"], mask: Int[Tensor, "batch pos"] | None
    ) -> Float[Tensor, "batch pos vocab"]:
        logits: Tensor = self.model(tokens, return_type="logits", attention_mask=mask)
        return logits

    def _places(self, site: Site) -> Iterator[tuple[int, Attach]]:
        blocks = self.model.blocks
        if site == "embed":
            yield 0, self._at(blocks[0].hook_resid_pre)
        elif site == "final":
            yield len(blocks) - 1, self._at(blocks[-1].hook_resid_post)
        else:
            for layer, block in enumerate(blocks):
                yield layer, self._place(block, site)

    def _place(self, block: Any, site: Site) -> Attach:
        if site in ("q", "k", "v", "z"):
            return self._at(getattr(block.attn, f"hook_{site}"))
        if site == "attn_in" or (site == "mlp_in" and self.graph.parallel):
            return self._at(block.hook_resid_pre)
        if site == "attn":
            return _at_attention_input(block.attn)
        if site == "attn_out":
            return self._at(block.hook_attn_out)
        if site == "mlp":
            return at_input(block.mlp)
        if site in ("mlp_gate", "mlp_pre", "mlp_post"):
            gated = "mlp_gate" in self.sites
            return self._at(getattr(block.mlp, f"hook_{_HIDDEN[site, gated]}"))
        if site == "mlp_proj":
            return at_output(block.mlp)
        return self._at(block.hook_resid_mid if site == "mlp_in" else block.hook_mlp_out)

    def _at(self, module: Any) -> Attach:
        return at_hook_point(self._hook_point(module))

    def _hook_point(self, module: Any) -> Any:
        """Return the hook point at a place in the model; subclasses override it."""
        return module

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """See ``ResidualModel.frozen``; also turns off TransformerLens' flags that change what hooks see."""
        found = {flag: getattr(self.model.cfg, flag) for flag in _FLAGS if hasattr(self.model.cfg, flag)}
        self._layers = self._read_layers()  # the weights may have changed
        with frozen_modules(*self.modules()):
            try:
                for flag in found:
                    setattr(self.model.cfg, flag, self._ungrouped and flag == _UNGROUP)
                yield
            finally:
                for flag, value in found.items():
                    setattr(self.model.cfg, flag, value)


def _at_attention_input(attention: nn.Module) -> Attach:
    """Attach to the normed input of attention: the module takes it as three arguments, which hold equal values."""

    def attach(hook: ValueHook) -> Callable[[], None]:
        def on_call(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            value = hook(kwargs["query_input"])
            return args, kwargs | {"query_input": value, "key_input": value, "value_input": value}

        return attention.register_forward_pre_hook(on_call, with_kwargs=True).remove

    return attach


def _read_layer(block: Any, ungrouped: bool) -> Layer:
    attn = block.attn
    grouped = hasattr(attn, "_W_K") and not ungrouped
    W_K, W_V, b_K, b_V = (
        getattr(attn, f"_{name}" if grouped else name).detach() for name in ("W_K", "W_V", "b_K", "b_V")
    )
    return Layer(
        W_Q=attn.W_Q.detach(), W_K=W_K, W_V=W_V, W_O=attn.W_O.detach(),
        b_Q=attn.b_Q.detach(), b_K=b_K, b_V=b_V, b_O=attn.b_O.detach(),
        attn_norm=_norm(block.ln1),
        mlp_norm=_norm(getattr(block, "ln2", None)),
        attn_post_norm=_norm(getattr(block, "ln1_post", None)),
        mlp_post_norm=_norm(getattr(block, "ln2_post", None)),
    )  # fmt: skip


def _norm(module: nn.Module | None) -> Norm | None:
    if module is None or isinstance(module, nn.Identity):
        return None
    kind = type(module).__name__
    if kind not in ("LayerNorm", "LayerNormPre", "RMSNorm", "RMSNormPre"):
        raise EapPluginError(f"unsupported norm {kind}; expected LayerNorm or RMSNorm, with or without folded weights")
    weight, bias = getattr(module, "w", None), getattr(module, "b", None)
    return Norm(
        weight=None if weight is None else weight.detach(),
        bias=None if bias is None else bias.detach(),
        eps=float(module.eps),  # type: ignore[arg-type]
        centred=kind.startswith("LayerNorm"),
    )
