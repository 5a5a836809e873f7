"""The self-check: do edge scores mean anything on this model?

Two things must hold on a plain forward pass. *Writers*: at every reader, the residual stream must be what it was at the
reader before, plus what heads and MLPs in between are said to add; so it is the sum of all writers. *Readers*: norm and
projection, as formulas of the residual stream, must give what the model's own q, k, v and MLP inputs are. Where both
hold, writers and readers are the model's. Which head is which shows at the first token, where attention has nothing to
choose from: a head's z must be a multiple of the v that it is said to read.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eap_plugin.errors import EapPluginError
from eap_plugin.interventions.writer_outputs import attention_output
from eap_plugin.model.norm import normed
from eap_plugin.model.residual_model import ResidualModel, Site, Visitor

TOLERANCE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest residue that rounding explains, for half precision; ``FULL_TOLERANCE`` for the others."""

FULL_TOLERANCE = 1e-4


@dataclass(frozen=True)
class CheckRow:
    """One comparison.

    Attributes:
        layer: the layer.
        what: ``writers`` reaching attention, MLP or logits, the ``reader`` q, k, v or MLP, or the ``heads`` of v.
        residue: largest difference of a number, over its own size and the root mean square of its token's.
    """

    layer: int
    what: str
    residue: float


@dataclass(frozen=True)
class CheckReport:
    """The self-check of one model, row by row in forward order."""

    model: str
    rows: tuple[CheckRow, ...]
    tolerance: float

    @property
    def worst(self) -> CheckRow:
        """The row with the largest residue."""
        return max(self.rows, key=lambda row: row.residue)

    @property
    def ok(self) -> bool:
        """Whether every residue is within the tolerance."""
        return not self.failing

    @property
    def failing(self) -> list[CheckRow]:
        """The rows that are not, in forward order; a residue that is no number is one of them."""
        return [row for row in self.rows if not row.residue <= self.tolerance]

    def raise_if_failed(self) -> None:
        """Refuse the model.

        Raises:
            EapPluginError: naming the first layer that fails, and its number.
        """
        if self.failing:
            first = self.failing[0]
            raise EapPluginError(
                f"the self-check fails on {self.model} at layer {first.layer}, {first.what}: "
                f"residue {first.residue:.2g}, allowed {self.tolerance:.2g}; "
                f"edge scores would not mean what they say, so none were computed"
            )


def self_check(
    model: ResidualModel,
    tokens: Int[Tensor, "batch pos"],
    attention_mask: Bool[Tensor, "batch pos"] | None = None,
) -> CheckReport:
    """Compare writers and readers with the model's own activations on one forward pass; for ``model.run``."""
    mask = None if attention_mask is None else attention_mask.to(model.device)
    with torch.no_grad():
        rows = _residues(model, tokens.to(model.device), mask)
    return CheckReport(model.name, tuple(rows), TOLERANCE.get(model.dtype, FULL_TOLERANCE))


def _residues(
    model: ResidualModel, tokens: Int[Tensor, "batch pos"], attention_mask: Bool[Tensor, "batch pos"] | None
) -> list[CheckRow]:
    seen = _watch(model, tokens, attention_mask)
    rows: list[CheckRow] = []

    def compare(layer: int, what: str, said: Tensor, site: Site, real: Tensor | None = None) -> Tensor:
        """Add a row; gives the model's own value, from which the next comparison starts."""
        real = seen[site, layer] if real is None else real
        size = real.pow(2).mean(-1, keepdim=True).sqrt() + said.abs() + real.abs()
        rows.append(CheckRow(layer, what, float(((said - real).abs() / size.clamp_min(tiny)).max())))
        return real

    stream, first = seen["embed", 0], _first_tokens(tokens, attention_mask)
    tiny = torch.finfo(stream.dtype).tiny
    for index, layer in enumerate(model.layers):
        before = compare(index, "writers reaching attention", stream, "attn_in")
        x = normed(layer.attn_norm, seen["attn_in", index])
        for slot in ("q", "k", "v"):
            W, b = layer.project(slot)
            read = torch.einsum("bpd,hde->bphe", x, W.to(x.dtype))
            compare(index, f"reader {slot}", read if b is None else read + b, slot)
        if not model.run_constraints.n_prefix:
            z = seen["z", index][:, first]
            compare(index, "heads of v", _along(_repeated(seen["v", index][:, first], z), z), "z", z)
        written = attention_output(layer, seen["z", index].to(layer.W_O.dtype)).to(stream.dtype)
        stream = before + normed(layer.attn_post_norm, written)
        if model.graph.has_mlp:
            reaching = "writers reaching the MLP"
            if model.graph.parallel:
                compare(index, reaching, before, "mlp_in")
            else:
                stream = compare(index, reaching, stream, "mlp_in")
            compare(index, "reader mlp", normed(layer.mlp_norm, seen["mlp_in", index]), "mlp")
            stream = stream + seen["mlp_out", index]
    compare(model.graph.n_layers - 1, "writers reaching the logits", stream, "final")
    return rows


def _first_tokens(
    tokens: Int[Tensor, "batch pos"], attention_mask: Bool[Tensor, "batch pos"] | None
) -> Int[Tensor, "batch"]:
    """Where each prompt's first token is among all real tokens: attention there can look at nothing else."""
    mask = torch.ones_like(tokens) if attention_mask is None else attention_mask.long()
    lengths = mask.sum(1)
    return lengths.cumsum(0) - lengths


def _repeated(v: Float[Tensor, "1 batch kv_heads d_head"], z: Float[Tensor, "1 batch heads d_head"]) -> Tensor:
    """The v that each head reads."""
    return v.repeat_interleave(z.shape[2] // v.shape[2], dim=2)


def _along(v: Float[Tensor, "*shape d_head"], z: Float[Tensor, "*shape d_head"]) -> Float[Tensor, "*shape d_head"]:
    """The part of ``z`` that is a multiple of ``v``: all of it, where attention looks at one token only."""
    return v * ((z * v).sum(-1, keepdim=True) / v.pow(2).sum(-1, keepdim=True).clamp_min(torch.finfo(v.dtype).tiny))


def _watch(
    model: ResidualModel, tokens: Int[Tensor, "batch pos"], attention_mask: Bool[Tensor, "batch pos"] | None
) -> dict[tuple[Site, int], Float[Tensor, "tokens ..."]]:
    """Every site's value at the real tokens, in at least float32."""
    seen: dict[tuple[Site, int], Tensor] = {}
    real = torch.ones_like(tokens, dtype=torch.bool) if attention_mask is None else attention_mask

    def keep(site: Site) -> Visitor:
        def visitor(layer: int, value: Tensor) -> None:
            seen[site, layer] = value.detach()[real][None].to(torch.promote_types(value.dtype, torch.float32))

        return visitor

    sites: list[Site] = ["embed", "attn_in", "q", "k", "v", "z", "final"]
    if model.graph.has_mlp:
        sites += ["mlp_in", "mlp", "mlp_out"]
    model.forward(tokens, {site: keep(site) for site in sites}, attention_mask=attention_mask)
    return seen
