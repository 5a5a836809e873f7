"""The sites and weights of a model, which are all that algorithms need."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch
from torch import Tensor, nn

from eap_plugin.plugin import (
    Attach,
    Graph,
    Layer,
    ModelInfo,
    Norm,
    Prompts,
    ResidualModel,
    Site,
    ValueHook,
    Visitor,
    at_input,
    at_output,
    frozen_modules,
    sites_of,
    visiting,
)
from toy_lm.model import Block, ToyLM


class ToyLMResidual(ResidualModel):
    """A ``ToyLM`` as writers and readers of its residual stream."""

    def __init__(self, model: ToyLM, info: ModelInfo) -> None:
        """Wrap a model; ``info`` holds its name and sizes."""
        self.model, config = model, model.config
        graph = Graph(n_layers=config.n_layers, n_heads=config.n_heads, n_kv_heads=config.n_kv_heads)
        super().__init__(graph, info)

    def parameter(self) -> Tensor:
        """See ``ResidualModel.parameter``."""
        return self.model.embed.weight

    def modules(self) -> Sequence[nn.Module]:
        """See ``ResidualModel.modules``."""
        return (self.model,)

    @property
    def _blocks(self) -> list[Block]:
        return cast("list[Block]", list(self.model.blocks))

    @property
    def layers(self) -> Sequence[Layer]:
        """See ``ResidualModel.layers``."""
        return [_layer(block, self.model.config.d_head) for block in self._blocks]

    @property
    def final_norm(self) -> Norm | None:
        """See ``ResidualModel.final_norm``."""
        return _norm(self.model.final_norm)

    @property
    def sites(self) -> frozenset[Site]:
        """See ``ResidualModel.sites``."""
        return sites_of(has_mlp=True, hidden=True, gated=False)

    def frozen(self) -> AbstractContextManager[None]:
        """See ``ResidualModel.frozen``."""
        return frozen_modules(self.model)

    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Tensor:
        """See ``ResidualModel.forward``."""
        with visiting(self._places, visit, self.model.unembed, prompts.last, len(self.model.blocks)):
            logits: Tensor = self.model(prompts.tokens, prompts.attention_mask)[0]
            return logits

    def _places(self, site: Site) -> Iterator[tuple[int, Attach]]:
        """Yield the layers that have a site, with the site's place in each."""
        if site == "embed":
            yield 0, at_input(self.model.blocks[0])
        elif site == "final":
            yield len(self.model.blocks) - 1, at_input(self.model.final_norm)
        else:
            for layer, block in enumerate(self._blocks):
                yield layer, self._place(block, site)

    def _place(self, block: Block, site: Site) -> Attach:
        attn, mlp, d_head = block.attn, block.mlp, self.model.config.d_head
        places = {
            "attn_in": at_input(block.attn_norm),
            "attn": at_input(attn),
            "q": _by_head(at_output(attn.q), d_head),
            "k": _by_head(at_output(attn.k), d_head),
            "v": _by_head(at_output(attn.v), d_head),
            "z": _by_head(at_input(attn.o), d_head),
            "attn_out": at_output(attn),
            "mlp_in": at_input(block.mlp_norm),
            "mlp": at_input(mlp),
            "mlp_pre": at_output(mlp.up),
            "mlp_post": at_input(mlp.down),
            "mlp_proj": at_output(mlp.down),
            "mlp_out": at_output(mlp),
        }
        return places[site]


def _by_head(attach: Attach, d_head: int) -> Attach:
    """Split a place's value [batch, pos, heads · d_head] into [batch, pos, heads, d_head] for the visitor."""

    def attach_by_head(hook: ValueHook) -> Any:
        return attach(lambda value: hook(torch.unflatten(value, -1, (-1, d_head))).flatten(-2))

    return attach_by_head


def _layer(block: Block, d_head: int) -> Layer:
    """Return a block's weights; the rows of a projection are grouped by head."""
    heads, biases = [], []
    for linear in (block.attn.q, block.attn.k, block.attn.v):
        heads.append(torch.unflatten(linear.weight.detach(), 0, (-1, d_head)).mT)
        biases.append(torch.unflatten(linear.bias.detach(), 0, (-1, d_head)))
    W_Q, W_K, W_V = heads
    b_Q, b_K, b_V = biases
    return Layer(
        W_Q=W_Q,
        W_K=W_K,
        W_V=W_V,
        W_O=torch.unflatten(block.attn.o.weight.detach().T, 0, (-1, d_head)),
        b_Q=b_Q,
        b_K=b_K,
        b_V=b_V,
        b_O=block.attn.o.bias.detach(),
        attn_norm=_norm(block.attn_norm),
        mlp_norm=_norm(block.mlp_norm),
    )


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight.detach(), norm.bias.detach(), norm.eps, centred=True)
