"""Where the sites and weights of a model are, as plain data.

nnsight's models are Hugging Face models, and every family names its modules differently. TransformerLens' architecture
adapters know these names. A plan is what remains once they have been asked:

1. ``resolve`` finds each component in the model and writes down its module path; it needs no weights.
2. A ``Place`` is the input or output of one module, with the sites (``Visit``) that are in its value: all of it, some
   columns, or some heads. The places of a plan are in the order in which the model computes them.
3. A ``LayerPlan`` says in which modules a block's projections and norms are; ``weights`` reads them from there.

A plan has no references to modules or libraries. So it can be made here and sent to a server, which has the weights but
not TransformerLens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eap_plugin.backend.hf_norm import NormForm
from eap_plugin.model.graph import Graph
from eap_plugin.model.sites import Site


@dataclass(frozen=True)
class Visit:
    """A site at a place.

    Attributes:
        site: the site.
        heads: for sites with heads, the index of each head's slice of width d_head in the last dimension; empty for
            sites without heads.
        columns: the columns of the last dimension that form the site, as (start, stop); ``None`` for all.
        scale: the factor by which the block multiplies the module's value; the site is the product.
    """

    site: Site
    heads: tuple[int, ...] = ()
    columns: tuple[int, int] | None = None
    scale: float = 1.0


@dataclass(frozen=True)
class Place:
    """The input or the output of a module, where one or more sites are.

    Attributes:
        layer: the layer passed to visitors.
        path: the path of the module in the model.
        at: whether it is the module's first input or its output.
        visits: the sites here, in the order in which they are visited; either all have heads or none has.
    """

    layer: int
    path: str
    at: Literal["input", "output"]
    visits: tuple[Visit, ...]


@dataclass(frozen=True)
class Projection:
    """Where a projection is.

    Attributes:
        path: the path of its module in the model.
        heads: the index of each head's slice of width d_head in the output (for the output projection: in the input).
    """

    path: str
    heads: tuple[int, ...]


@dataclass(frozen=True)
class NormPlace:
    """Where a norm is, and its formula."""

    path: str
    form: NormForm


@dataclass(frozen=True)
class LayerPlan:
    """Where a block's projections and norms are; ``None`` for a norm that it does not have.

    Attributes:
        multiplier: the factor on attention and MLP outputs before they are added to the residual stream.
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
    """All that a backend needs to know about a model besides its weights.

    Attributes:
        graph: its writers, readers and edges.
        d_head: the width of a head.
        places: the places of all sites, in the order in which the model computes them.
        layers: for each block, where its weights are.
        final_norm: where the norm before the unembedding is.
        unembed: the path of the first module after the final norm.
        takes_positions: whether position ids must be passed when prompts are padded.
    """

    graph: Graph
    d_head: int
    places: tuple[Place, ...]
    layers: tuple[LayerPlan, ...]
    final_norm: NormPlace | None
    unembed: str
    takes_positions: bool
