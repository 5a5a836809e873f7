"""A model that is linear in its embeddings: what first-order methods say of it is exact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from eap_plugin.data.prompts import Prompts
from eap_plugin.model.graph import Graph
from eap_plugin.model.layer import Layer
from eap_plugin.model.model_info import ModelInfo
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor, sites_of

VOCAB, D_MODEL, D_HEAD, N_HEADS, N_LAYERS = 11, 6, 3, 2, 2


class LinearModel(ResidualModel):
    """Two layers of heads that look at all earlier positions alike, and of MLPs that are matrices; no norms."""

    def __init__(self) -> None:
        """Draw the weights, float64."""
        super().__init__(Graph(N_LAYERS, N_HEADS, N_HEADS), ModelInfo("linear", n_vocab=VOCAB))
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64) / 2

        self._embed, self._unembed = draw(VOCAB, D_MODEL), draw(D_MODEL, VOCAB)
        self._layers = [
            Layer(
                W_Q=draw(N_HEADS, D_MODEL, D_HEAD),
                W_K=draw(N_HEADS, D_MODEL, D_HEAD),
                W_V=draw(N_HEADS, D_MODEL, D_HEAD),
                W_O=draw(N_HEADS, D_HEAD, D_MODEL),
                b_Q=draw(N_HEADS, D_HEAD),
                b_K=draw(N_HEADS, D_HEAD),
                b_V=draw(N_HEADS, D_HEAD),
                b_O=draw(D_MODEL),
                attn_norm=None,
                mlp_norm=None,
            )
            for _ in range(N_LAYERS)
        ]
        self._mlps = [(draw(D_MODEL, D_MODEL), draw(D_MODEL)) for _ in range(N_LAYERS)]

    def parameter(self) -> Tensor:
        return self._embed

    @property
    def layers(self) -> Sequence[Layer]:
        return self._layers

    @property
    def final_norm(self) -> Norm | None:
        return None

    def modules(self) -> Sequence[Any]:
        return ()

    @property
    def sites(self) -> frozenset[Site]:
        return sites_of(has_mlp=True, hidden=False, gated=False) - {"scores", "pattern"}

    def frozen(self) -> AbstractContextManager[None]:
        return nullcontext()

    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Tensor:
        def at(site: Site, layer: int, value: Tensor) -> Tensor:
            value = value.view_as(value)
            new = visit[site](layer, value) if site in visit else None
            return value if new is None else new

        n_pos = prompts.tokens.shape[1]
        pattern = torch.ones(n_pos, n_pos, dtype=torch.float64).tril()
        pattern /= pattern.sum(1, keepdim=True)
        x = at("embed", 0, self._embed[prompts.tokens])
        for index, (layer, (weight, bias)) in enumerate(zip(self._layers, self._mlps, strict=True)):
            x = at("attn_in", index, x)
            read_ = at("attn", index, x)
            q, k, v = (
                at(slot, index, _plus(torch.einsum("bpd,hde->bphe", read_, W), b))
                for slot in ("q", "k", "v")
                for W, b in (layer.project(slot),)
            )
            z = at("z", index, torch.einsum("qk,bkhe->bqhe", pattern, v) + 0 * (q + k))
            x = x + at("attn_out", index, _plus(torch.einsum("bphe,hed->bpd", z, layer.W_O), layer.b_O))
            x = at("mlp_in", index, x)
            x = x + at("mlp_out", index, at("mlp", index, x) @ weight + bias)
        x = at("final", N_LAYERS - 1, x)
        return at("unembed", N_LAYERS - 1, x[:, -1][None])[0] @ self._unembed


def _plus(value: Tensor, bias: Tensor | None) -> Tensor:
    """Add a bias, which every projection here has."""
    assert bias is not None
    return value + bias
