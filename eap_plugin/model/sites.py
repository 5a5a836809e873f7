"""The sites of a forward pass: where the residual stream is written or read, and the values in between."""

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
"""A named value of the forward pass: one per layer, except ``embed`` (first), ``final`` and ``unembed`` (last).

======== ============================= ===================================================================
embed    [batch, pos, d_model]         the residual stream entering the first block: what ``input`` writes
attn_in  [batch, pos, d_model]         the residual stream as attention reads it, before its norm
attn     [batch, pos, d_model]         the input of the q, k and v projections, after the norm
q, k, v  [batch, pos, heads, d_head]   after the projection, before rotary embeddings and q/k norms
scores   [batch, heads, query, key]    the input of the softmax, mask included
pattern  [batch, heads, query, key]    the output of the softmax
z        [batch, pos, heads, d_head]   each head's output before the output projection
attn_out [batch, pos, d_model]         what attention adds to the residual stream
mlp_in   [batch, pos, d_model]         the residual stream as the MLP reads it, before its norm
mlp      [batch, pos, d_model]         the MLP's input, after its norm
mlp_gate [batch, pos, d_mlp]           the output of the gate projection, before the activation; gated MLPs only
mlp_pre  [batch, pos, d_mlp]           the output of the other input projection; before the activation if not gated
mlp_post [batch, pos, d_mlp]           the input of the MLP's output projection
mlp_proj [batch, pos, d_model]         the output of the MLP's output projection, before any norm
mlp_out  [batch, pos, d_model]         what the MLP adds to the residual stream
final    [batch, pos, d_model]         the output of the last block: the residual stream as the logits read it
unembed  [1, batch, d_model]           the output of the final norm, at the positions whose logits are needed
======== ============================= ===================================================================

A site is reached once per layer and forward pass; a model that reaches one more often is refused. If a block scales its
outputs before adding them to the residual stream (Granite), ``attn_out`` and ``mlp_out`` are the scaled outputs. If one
projection computes both factors of a gated MLP, ``mlp_gate`` and ``mlp_pre`` are the two parts of its output.

A model may lack some sites: see ``ResidualModel.sites``. Use ``attn_in`` and ``mlp_in`` only to read the residual
stream; to change what attention or the MLP reads, replace ``attn`` and ``mlp``, or ``q``, ``k`` and ``v``.

Visitors may rely on the order of the sites, and every backend must keep it: ``embed`` comes first, and all sites of a
layer come before those of the next layer. Within a layer, ``attn_in`` comes first; attention's sites and the MLP's
sites are each in the order of this table, and attention's come before the MLP's. Only in a parallel block may the MLP's
sites come before attention's or alternate with them.
"""

SITES: tuple[Site, ...] = get_args(Site)
"""All sites, in the order of ``Site``'s table; visitors of several sites at one tensor are called in this order."""

_MLP_SITES: tuple[Site, ...] = ("mlp_in", "mlp", "mlp_out")
_HIDDEN_SITES: tuple[Site, ...] = ("mlp_pre", "mlp_post", "mlp_proj")


def sites_of(has_mlp: bool, hidden: bool, gated: bool) -> frozenset[Site]:
    """Return the sites that a model has, given the structure of its MLPs.

    Args:
        has_mlp: whether its blocks have MLPs.
        hidden: whether hooks can reach the MLPs' hidden layer.
        gated: whether the hidden layer is gated.
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
