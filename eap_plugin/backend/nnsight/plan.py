"""Where a model's sites and weights are, as plain data: made on the client, used where the weights are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eap_plugin.backend.hf_norm import NormForm
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site


@dataclass(frozen=True)
class Visit:
    """One site at a place.

    Attributes:
        site: which.
        heads: for sites with heads, which pieces of width d_head of the last dimension they are, in order; empty for
            sites of the residual stream's width.
        columns: the columns of the last dimension that it is, first and one past the last, if not all.
        scale: what the block multiplies the module's value by; the site is the product.
    """

    site: Site
    heads: tuple[int, ...] = ()
    columns: tuple[int, int] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Place:
    """The input or the output of a module, at which one or more sites are.

    Attributes:
        layer: the layer that visitors are told.
        path: the module's, from the model.
        at: the module's first input, or what it returns.
        visits: the sites here, in the order in which they are visited; all with heads, or none.
    """

    layer: int
    path: str
    at: Literal["input", "output"]
    visits: tuple[Visit, ...]


@dataclass(frozen=True)
class Projection:
    """Where a linear map is.

    Attributes:
        path: the module's, from the model.
        heads: which pieces of width d_head of what it gives (for the output projection: takes) are the heads.
    """

    path: str
    heads: tuple[int, ...]


@dataclass(frozen=True)
class NormPlace:
    """Where a norm is, and its form."""

    path: str
    form: NormForm


@dataclass(frozen=True)
class LayerPlan:
    """Where a block's projections and norms are; ``None`` stands for a norm that it does not have.

    Attributes:
        multiplier: what the block multiplies attention's and the MLP's output by before it adds them.
        clip_qkv: see ``Layer``.
    """

    q: Projection
    k: Projection
    v: Projection
    o: Projection
    attn_norm: NormPlace | None
    mlp_norm: NormPlace | None
    attn_post_norm: NormPlace | None
    mlp_post_norm: NormPlace | None
    multiplier: float
    clip_qkv: float | None


@dataclass(frozen=True)
class Plan:
    """Everything that is to be known of a model besides its weights.

    Attributes:
        graph: its writers, readers and edges.
        d_head: the width of a head.
        places: in the order in which the model comes by them.
        layers: where the weights are.
        final_norm: where the norm before the unembedding is.
        unembed: the path of the module that turns the final residual stream into logits.
        takes_positions: whether it is to be told token positions when prompts are padded.
    """

    graph: Graph
    d_head: int
    places: tuple[Place, ...]
    layers: tuple[LayerPlan, ...]
    final_norm: NormPlace | None
    unembed: str
    takes_positions: bool
