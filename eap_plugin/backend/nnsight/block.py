"""The plan of one block: where its sites and weights are, found with TransformerLens' architecture adapter.

1. ``find`` looks up a component of the block (a norm, attention, a projection) in the adapter, which knows its module
   path, and takes the module at that path from the model.
2. ``plan_block`` puts each site at the input or output of one of these modules, in the order in which Hugging Face's
   blocks compute them: nnsight can visit modules in that order only.
3. If q, k and v are one fused projection, all three sites are at its output; ``fused_qkv`` finds out which columns
   belong to which head. Likewise for a projection that computes both factors of a gated MLP.
4. The sites of the MLP's hidden layer are included only if all parts of it are known; see ``gate``.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import nn

from eap_plugin.backend.gate import hidden_layer
from eap_plugin.backend.hf_config import residual_multiplier
from eap_plugin.backend.hf_norm import norm_form
from eap_plugin.backend.nnsight.fused_qkv import NotHeadsError, fused_heads, n_columns, split_gate
from eap_plugin.backend.nnsight.plan import LayerPlan, NormPlace, Place, Projection, Visit


class NotFoundError(Exception):
    """A component that is missing from the model or its adapter."""


class Found(NamedTuple):
    """A component of an adapter, with its module in the model and the path of that module."""

    component: Any
    module: nn.Module
    path: str


class BlockPlan(NamedTuple):
    """The places of a block's sites in order of computation, where its weights are, and what kind of block it is."""

    places: tuple[Place, ...]
    layer: LayerPlan
    parallel: bool
    has_mlp: bool


def find(parent: Found, components: Mapping[str, Any], name: str) -> Found:
    """Find a component by its name in TransformerLens; one without a module of its own uses its parent's.

    Raises:
        NotFoundError: if the adapter does not have it, or its module is not in the model.
    """
    component = components.get(name)
    if component is None:
        raise NotFoundError(f"there is no {name} in {parent.path or 'it'}")
    if component.name is None:
        return Found(component, parent.module, parent.path)
    path = f"{parent.path}.{component.name}".lstrip(".")
    try:
        return Found(component, parent.module.get_submodule(component.name), path)
    except AttributeError:
        raise NotFoundError(f"its {name} was not found at {path}") from None


def plan_block(block: Found, index: int, d_head: int, clip_qkv: float | None) -> BlockPlan:
    """Return the plan of one block.

    Args:
        block: the block.
        index: its layer.
        d_head: the width of a head.
        clip_qkv: see ``Layer``.

    Raises:
        NotFoundError: naming the component that was not found.
    """
    parts = block.component.submodules
    parallel = "Parallel" in type(block.component).__name__
    norms = {name: find(block, parts, name) for name in ("ln1", "ln1_post", "ln2", "ln2_post") if name in parts}
    attn = find(block, parts, "attn")
    mlp = find(block, parts, "mlp") if "mlp" in parts else None
    reads = _readers(attn, d_head)
    o = find(attn, attn.component.submodules, "o")
    layer = LayerPlan(
        **reads,
        o=Projection(o.path, tuple(range(len(reads["q"].heads)))),
        attn_norm=norm_place(norms.get("ln1")),
        mlp_norm=norm_place(norms.get("ln2", norms.get("ln1") if parallel else None)),
        attn_post_norm=norm_place(norms.get("ln1_post")),
        mlp_post_norm=norm_place(norms.get("ln2_post")),
        multiplier=residual_multiplier(block.module),
        clip_qkv=clip_qkv,
    )
    visits = (Visit("q", layer.q.heads), Visit("k", layer.k.heads), Visit("v", layer.v.heads))
    paths = (layer.q.path, layer.k.path, layer.v.path)
    places = [
        *_read_places(norms.get("ln1"), attn, block, index, shared=parallel and mlp is not None),
        *(
            (Place(index, layer.q.path, "output", visits),)
            if len(set(paths)) == 1
            else (Place(index, path, "output", (visit,)) for path, visit in zip(paths, visits, strict=True))
        ),
        Place(index, o.path, "input", (Visit("z", layer.o.heads),)),
        Place(index, norms.get("ln1_post", o).path, "output", (Visit("attn_out", scale=layer.multiplier),)),
    ]
    if mlp is not None:
        places += _mlp_places(mlp, norms, index, parallel, layer.multiplier)
    return BlockPlan(tuple(places), layer, parallel, mlp is not None)


def _read_places(ln1: Found | None, attn: Found, block: Found, index: int, shared: bool) -> list[Place]:
    """Return the places where attention reads: the residual stream, then the output of the norm.

    Args:
        ln1: the norm before attention, if there is one.
        attn: the attention module.
        block: the block.
        index: its layer.
        shared: whether the MLP reads the same residual stream, so that both sites are at the block's input.
    """
    normed = Visit("attn")
    read = Place(index, attn.path, "input", (normed,)) if ln1 is None else Place(index, ln1.path, "output", (normed,))
    if shared:
        return [Place(index, block.path, "input", (Visit("attn_in"), Visit("mlp_in"))), read]
    if ln1 is None:
        return [replace(read, visits=(Visit("attn_in"), normed))]
    return [Place(index, ln1.path, "input", (Visit("attn_in"),)), read]


def _mlp_places(mlp: Found, norms: Mapping[str, Found], index: int, parallel: bool, scale: float) -> list[Place]:
    parts = mlp.component.submodules
    without_module = mlp.component.name is None
    reads = find(mlp, parts, "in") if without_module else mlp
    adds_residual = "residual" in inspect.signature(mlp.module.forward).parameters
    writes = find(mlp, parts, "out") if without_module or adds_residual else mlp
    last = norms.get("ln2_post", writes).path
    hidden = _hidden_places(mlp, index)
    written = Visit("mlp_out", scale=scale)
    if hidden and hidden[-1].path == last:
        hidden[-1] = replace(hidden[-1], visits=(*hidden[-1].visits, written))
    else:
        hidden.append(Place(index, last, "output", (written,)))
    places = [Place(index, reads.path, "input", (Visit("mlp"),)), *hidden]
    if not parallel:
        places.insert(0, Place(index, norms.get("ln2", reads).path, "input", (Visit("mlp_in"),)))
    return places


def _hidden_places(mlp: Found, index: int) -> list[Place]:
    """Return the places of the hidden layer; empty if some part of it is not known, as in a mixture of experts."""
    try:
        reads = _factors(mlp, index)
        out = find(mlp, mlp.component.submodules, "out").path
    except NotFoundError:
        return []
    return [
        *reads,
        Place(index, out, "input", (Visit("mlp_post"),)),
        Place(index, out, "output", (Visit("mlp_proj"),)),
    ]


def _factors(mlp: Found, index: int) -> list[Place]:
    """Return the places of the factors of the hidden layer: the gate, if any, and the other input projection.

    Raises:
        NotFoundError: if one is not found, or a part of the hidden layer is not known.
    """
    if hasattr(mlp.component, "split_gate_up_matrix"):
        gate, linear = split_gate(mlp.component, mlp.module)
        path = f"{mlp.path}.{mlp.component.fused_attr}"
        return [Place(index, path, "output", (Visit("mlp_gate", columns=gate), Visit("mlp_pre", columns=linear)))]
    parts = mlp.component.submodules
    found = {name: find(mlp, parts, name) for name in ("gate", "in", "out") if name in ("in", "out") or name in parts}
    modules = {name: part.module for name, part in found.items()}
    hidden = hidden_layer(modules, None if mlp.component.name is None else mlp.module)
    if not hidden.seen:
        raise NotFoundError("its hidden layer has parts that are not known")
    reads = [Visit("mlp_gate", columns=hidden.gate)] if hidden.gated else []
    reads.append(Visit("mlp_pre", columns=hidden.linear))
    if "gate" not in found:
        return [Place(index, found["in"].path, "output", tuple(reads))]
    return [
        Place(index, found[name].path, "output", (visit,)) for name, visit in zip(("gate", "in"), reads, strict=True)
    ]


def _readers(attn: Found, d_head: int) -> dict[str, Projection]:
    """Return the q, k and v projections, which may be fused into one module."""
    parts = attn.component.submodules
    if "qkv" not in parts:
        found = {slot: find(attn, parts, slot) for slot in ("q", "k", "v")}
        heads = {slot: tuple(range(n_columns(part.module) // d_head)) for slot, part in found.items()}
    else:
        found = dict.fromkeys(("q", "k", "v"), find(attn, parts, "qkv"))
        try:
            heads = fused_heads(attn.component, attn.module, d_head)
        except NotHeadsError as error:
            raise NotFoundError(str(error)) from error
    return {slot: Projection(found[slot].path, heads[slot]) for slot in found}


def norm_place(found: Found | None) -> NormPlace | None:
    """Return the path and formula of a norm; ``None`` if there is none or it is the identity."""
    if found is None:
        return None
    found.component.set_original_component(found.module)
    form = norm_form(found.component)
    return None if form is None else NormPlace(found.path, form)
