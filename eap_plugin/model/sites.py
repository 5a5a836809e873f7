"""The sites of a forward pass: where the residual stream is written to or read from, and what lies between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import Tensor

Site = Literal[
    "embed",
    "attn_in",
    "attn",
    "q",
    "k",
    "v",
    "scores",
    "pattern",
    "z",
    "attn_out",
    "mlp_in",
    "mlp",
    "mlp_gate",
    "mlp_pre",
    "mlp_post",
    "mlp_proj",
    "mlp_out",
    "final",
    "unembed",
]
"""A place in the forward pass, one per layer except ``embed`` (before layer 0), ``final`` and ``unembed`` (after all).

======== ============================= ===================================================================
embed    [batch, pos, d_model]         the residual stream entering the first block: what ``input`` writes
attn_in  [batch, pos, d_model]         the residual stream as attention reads it, before its norm
attn     [batch, pos, d_model]         what q, k and v are projected from, after the norm
q, k, v  [batch, pos, heads, d_head]   after the projection, before rotary embeddings and q/k norms
scores   [batch, heads, query, key]    what the softmax takes, mask included
pattern  [batch, heads, query, key]    what it gives
z        [batch, pos, heads, d_head]   each head's result before the output projection
attn_out [batch, pos, d_model]         what attention adds to the residual stream
mlp_in   [batch, pos, d_model]         the residual stream as the MLP reads it, before its norm
mlp      [batch, pos, d_model]         what the MLP reads, after its norm
mlp_gate [batch, pos, d_mlp]           what the gate's projection gives, before the activation; of a gated MLP only
mlp_pre  [batch, pos, d_mlp]           what the other projection gives; before the activation, if there is no gate
mlp_post [batch, pos, d_mlp]           what the MLP's output projection reads
mlp_proj [batch, pos, d_model]         what the MLP's output projection gives, before any norm
mlp_out  [batch, pos, d_model]         what the MLP adds to the residual stream
final    [batch, pos, d_model]         what the last block gives: the residual stream as the logits read it
unembed  [1, batch, d_model]           what the final norm gives, at the positions whose logits are wanted
======== ============================= ===================================================================

A site is one value of one forward pass: a model that comes by one twice in a layer is refused. Where a block multiplies
what it adds (Granite), ``attn_out`` and ``mlp_out`` are the products. Where one projection gives both factors of a
gated MLP, ``mlp_gate`` and ``mlp_pre`` are parts of what it gives.

A model may lack some of them: see ``ResidualModel.sites``. ``attn_in`` and ``mlp_in`` are to be watched; to change what
is read, replace ``attn`` and ``mlp``, or ``q``, ``k`` and ``v``.

Visitors may rely on the order in which sites are visited, and every backend must keep it. ``embed`` is first, and all
sites of a layer come before those of the next one. Within a layer ``attn_in`` is first; the sites of attention, and
those of the MLP, come in the order of this table, and unless the block is parallel, attention's before the MLP's. In a
parallel block, attention and MLP may be computed in either order, and their sites may alternate.
"""

SITES: tuple[Site, ...] = get_args(Site)
"""In the order of ``Site``'s table; where several sites are at one tensor, visitors are called in this order."""

_MLP_SITES: tuple[Site, ...] = ("mlp_in", "mlp", "mlp_out")
_HIDDEN_SITES: tuple[Site, ...] = ("mlp_pre", "mlp_post", "mlp_proj")


def sites_of(has_mlp: bool, hidden: bool, gated: bool) -> frozenset[Site]:
    """Return the sites of a model.

    Args:
        has_mlp: whether its blocks have MLPs.
        hidden: whether these are two projections with a hidden layer that can be seen.
        gated: whether a third one gates it.
    """
    missing = set[Site]()
    if not has_mlp:
        missing |= set(_MLP_SITES)
    if not (has_mlp and hidden):
        missing |= {*_HIDDEN_SITES, "mlp_gate"}
    elif not gated:
        missing |= {"mlp_gate"}
    return frozenset(SITES) - missing


Visitor = Callable[[int, Tensor], Tensor | None]
"""Called with the layer and the value at a site; a returned tensor replaces the value."""
