"""Edge scores from two runs: what the writers change, times the gradient at the readers.

For writer u and reader v (Syed et al. 2310.10348, as AutoCircuit computes it)

    score(u → v) = Σ over prompts, positions and d_model of (c_u[corrupt] − c_u[clean]) · ∂L/∂r_v

c_u is what u adds to the residual stream, r_v is the residual stream as v alone reads it, before its norm, and L is minus
the metric. Nothing per-head is built in the forward pass: writers are kept as ``z`` and expanded by W_O, readers are
kept as gradients on q, k, v and expanded by W_Qᵀ and the norm's vector-Jacobian product, a few positions at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.residual import Layer, ResidualModel, Site, Visitor

WORKSPACE = 2**23
"""Entries of the largest temporary tensor: positions are taken in pieces so that writers × tokens × d_model stay below."""


@dataclass
class Writers:
    """What every writer adds to the residual stream in one run, kept small: heads as their scaled ``z``.

    A head's contribution is ``z[layer][..., head, :] @ output_weight(layer)[head]``.

    Attributes:
        embed: what ``input`` adds, [batch, pos, d_model].
        z: per layer [batch, pos, heads, d_head]; times the scale of the norm after attention, if there is one.
        mlp: per layer [batch, pos, d_model]; empty for attention-only models.
    """

    embed: Float[Tensor, "batch pos d_model"]
    z: list[Float[Tensor, "batch pos heads d_head"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]

    def minus(self, other: Writers) -> Writers:
        """The change from ``other`` to this run."""
        return Writers(
            self.embed - other.embed,
            [a - b for a, b in zip(self.z, other.z, strict=True)],
            [a - b for a, b in zip(self.mlp, other.mlp, strict=True)],
        )


@dataclass
class ReaderGradients:
    """Where the readers of one run read, and the gradient of the loss there.

    Attributes:
        attn_in: per layer, the residual stream before attention's norm, [batch, pos, d_model].
        q, k, v: per layer, the gradient on the projections, [batch, pos, heads, d_head].
        mlp_in: per layer, the residual stream before the MLP's norm.
        mlp: per layer, the gradient on what the MLP reads after its norm.
        final: the gradient on the residual stream before the final norm.
    """

    attn_in: list[Float[Tensor, "batch pos d_model"]]
    q: list[Float[Tensor, "batch pos heads d_head"]]
    k: list[Float[Tensor, "batch pos kv_heads d_head"]]
    v: list[Float[Tensor, "batch pos kv_heads d_head"]]
    mlp_in: list[Float[Tensor, "batch pos d_model"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]
    final: Float[Tensor, "batch pos d_model"]


class WriterTape:
    """Visitors that keep what every writer adds, from position ``start`` on."""

    def __init__(self, model: ResidualModel, start: int = 0) -> None:
        """Record runs of ``model``."""
        self._layers, self._start, self._has_mlp = model.layers, start, model.graph.has_mlp
        self._embed: Tensor | None = None
        self._z: dict[int, Tensor] = {}
        self._mlp: dict[int, Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        visit: dict[Site, Visitor] = {"embed": self._on_embed, "z": self._on_z}
        return visit | ({"mlp_out": self._on_mlp_out} if self._has_mlp else {})

    def writers(self) -> Writers:
        """What was recorded.

        Raises:
            EapPluginError: if the model did not come by every site.
        """
        n_layers = len(self._layers)
        if self._embed is None or len(self._z) != n_layers or len(self._mlp) != n_layers * self._has_mlp:
            raise EapPluginError("the model did not come by all of its writers; its backend misplaces their sites")
        order = range(n_layers)
        return Writers(self._embed, [self._z[i] for i in order], [self._mlp[i] for i in order if self._has_mlp])

    def _on_embed(self, layer: int, value: Tensor) -> None:
        self._embed = value.detach()[:, self._start :].clone()

    def _on_z(self, index: int, value: Tensor) -> None:
        self._z[index] = scaled_z(self._layers[index], value.detach()[:, self._start :])

    def _on_mlp_out(self, layer: int, value: Tensor) -> None:
        self._mlp[layer] = value.detach()[:, self._start :].clone()


class GradientTape:
    """Visitors that keep where the readers read, and afterwards give the gradient there.

    The run is made differentiable from the embedding on: frozen weights ask for no gradient themselves.
    """

    def __init__(self, model: ResidualModel, start: int = 0) -> None:
        """Record runs of ``model`` from position ``start`` on."""
        self._graph, self._start = model.graph, start
        self._at: dict[tuple[Site, int], Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        sites: tuple[Site, ...] = ("attn_in", "q", "k", "v", "final")
        visit = {site: self._keep(site) for site in sites}
        if self._graph.has_mlp:
            visit |= {"mlp_in": self._keep("mlp_in"), "mlp": self._keep("mlp")}
        return visit | {"embed": _make_differentiable}

    def gradients(self, loss: Float[Tensor, ""]) -> ReaderGradients:
        """The gradient of ``loss`` at every reader; frees the run's autograd graph.

        Raises:
            UsageError: if the loss has no gradient at all.
            EapPluginError: naming the reader, if the loss does not depend on it.
        """
        if not loss.requires_grad:
            raise UsageError(
                "the metric has no gradient; compute it from the logits with torch operations, without detach() or item()"
            )
        keys = [key for key in self._at if key[0] not in ("attn_in", "mlp_in")]
        grads = torch.autograd.grad(loss, [self._at[key] for key in keys], allow_unused=True)
        for (site, layer), grad in zip(keys, grads, strict=True):
            if grad is None:
                raise EapPluginError(
                    f"no gradient arrives at {site} of layer {layer}: the metric does not depend on it, "
                    f"or the backend's hook is beside the model's computation"
                )
        found = {key: grad[:, self._start :] for key, grad in zip(keys, grads, strict=True)}
        layers = range(self._graph.n_layers)
        mlps = layers if self._graph.has_mlp else range(0)
        return ReaderGradients(
            attn_in=[self._residual("attn_in", i) for i in layers],
            q=[found["q", i] for i in layers],
            k=[found["k", i] for i in layers],
            v=[found["v", i] for i in layers],
            mlp_in=[self._residual("mlp_in", i) for i in mlps],
            mlp=[found["mlp", i] for i in mlps],
            final=found["final", layers[-1]],
        )

    def _residual(self, site: Site, layer: int) -> Tensor:
        return self._at[site, layer].detach()[:, self._start :]

    def _keep(self, site: Site) -> Visitor:
        def visitor(layer: int, value: Tensor) -> None:
            self._at[site, layer] = value

        return visitor


def merge(*visitors: Mapping[Site, Visitor]) -> dict[Site, Visitor]:
    """Visitors that are called one after another at each site, each seeing what the one before it put there."""
    sites = dict.fromkeys(site for visit in visitors for site in visit)
    return {site: _in_turn([visit[site] for visit in visitors if site in visit]) for site in sites}


def _in_turn(visitors: Sequence[Visitor]) -> Visitor:
    def visitor(layer: int, value: Tensor) -> Tensor:
        for visit in visitors:
            new = visit(layer, value)
            value = value if new is None else new
        return value

    return visitor


def _make_differentiable(layer: int, value: Tensor) -> Tensor:
    return value.detach().requires_grad_()


def scaled_z(
    layer: Layer, z: Float[Tensor, "batch pos heads d_head"]
) -> Float[Tensor, "batch pos heads d_head"]:
    """A copy of ``z``, times the scale of the norm that follows attention, if there is one.

    With that scale held at its value in this run, what the heads add is linear in ``z`` and adds up exactly.
    """
    if layer.attn_post_norm is None:
        return z.clone()
    return z * layer.attn_post_norm.stats(attention_output(layer, z)).scale[..., None]


def attention_output(
    layer: Layer, z: Float[Tensor, "batch pos heads d_head"]
) -> Float[Tensor, "batch pos d_model"]:
    """What attention's output projection gives for all heads together, bias included."""
    out = z.flatten(2) @ layer.W_O.flatten(0, 1)
    return out if layer.b_O is None else out + layer.b_O


def output_weight(layer: Layer) -> Float[Tensor, "heads d_head d_model"]:
    """W_O with the norm after attention, if any, folded in (its scale is in ``Writers.z``)."""
    norm = layer.attn_post_norm
    return layer.W_O if norm is None else norm.gain(norm.centre(layer.W_O))


class EdgeScorer:
    """Sums edge scores over batches.

    Temporary tensors are made once and used again for every piece of positions, every layer and every batch.

    Attributes:
        matrix: the sum so far, zero where there is no edge: one matrix, or one for each position.
    """

    matrix: Float[Tensor, "out_pos sources readers"]

    def __init__(self, model: ResidualModel, dtype: torch.dtype, n_positions: int | None = None) -> None:
        """Start at zero.

        Args:
            model: whose weights expand heads.
            dtype: the dtype to multiply and add in.
            n_positions: keep the scores of this many token positions apart; ``None`` sums over positions.
        """
        self._model, self._graph = model, model.graph
        shape = n_positions or 1, len(self._graph.sources), len(self._graph.readers)
        self._per_position = n_positions is not None
        self.matrix = torch.zeros(shape, dtype=dtype, device=model.device)
        self._buffers: dict[str, Tensor] = {}

    def add(self, change: Writers, gradients: ReaderGradients, start: int = 0) -> None:
        """Add the scores of one batch, whose first position here is position ``start`` of its prompts."""
        batch, n_pos, d_model = change.embed.shape
        step = max(1, WORKSPACE // (len(self._graph.sources) * batch * d_model))
        for first in range(0, n_pos, step):
            piece = slice(first, min(first + step, n_pos))
            where = slice(start + piece.start, start + piece.stop) if self._per_position else slice(0, 1)
            self._add_piece(change, gradients, piece, self.matrix[where])

    def _add_piece(
        self,
        change: Writers,
        gradients: ReaderGradients,
        piece: slice,
        out: Float[Tensor, "out_pos sources readers"],
    ) -> None:
        graph = self._graph

        def tokens(x: Tensor) -> Float[Tensor, "tokens ..."]:
            """Position-major, so that a position's prompts lie side by side."""
            return x[:, piece].transpose(0, 1).flatten(0, 1).to(out.dtype)

        def add(cut: int, column: int, G: Float[Tensor, "readers tokens d_model"]) -> None:
            target = out[:, :cut, column : column + len(G)]
            if self._per_position:
                d, g = (x.unflatten(1, (len(out), -1)).flatten(2).transpose(0, 1) for x in (D[:cut], G))
                target += d @ g.transpose(1, 2)
            else:
                target[0] += D[:cut].flatten(1) @ G.flatten(1).T

        embed = tokens(change.embed)
        D = self._buffer("writers", len(graph.sources), *embed.shape)
        D[0] = embed
        column = 0
        for index, layer in enumerate(self._model.layers):
            head, mlp = graph.head_row(index), graph.mlp_row(index)
            g = [tokens(x[index]).transpose(0, 1) for x in (gradients.q, gradients.k, gradients.v)]
            G = self._attention_readers(layer, g, tokens(gradients.attn_in[index]))
            add(head, column, G)
            column += len(G)
            z = tokens(change.z[index]).transpose(0, 1).contiguous()
            torch.bmm(z, output_weight(layer).to(out.dtype), out=D[head:mlp])
            if graph.has_mlp:
                g_mlp = tokens(gradients.mlp[index])
                if layer.mlp_norm is not None:
                    stats = layer.mlp_norm.stats(tokens(gradients.mlp_in[index]))
                    g_mlp = layer.mlp_norm.vjp(stats, g_mlp)
                add(head if graph.parallel else mlp, column, g_mlp[None])
                column += 1
                D[mlp] = tokens(change.mlp[index])
        add(len(D), column, tokens(gradients.final)[None])

    def _attention_readers(
        self, layer: Layer, g: list[Float[Tensor, "heads tokens d_head"]], x: Float[Tensor, "tokens d_model"]
    ) -> Float[Tensor, "readers tokens d_model"]:
        """The gradient at the residual stream as each q, k and v head reads it: ``Norm.vjp``, without copies."""
        stats = None if layer.attn_norm is None else layer.attn_norm.stats(x)
        n_readers = sum(len(part) for part in g)
        G = self._buffer("readers", n_readers, *x.shape)
        for part, W, rows in zip(g, (layer.W_Q, layer.W_K, layer.W_V), _slices(g), strict=True):
            scaled = part.contiguous() if stats is None else part * stats.scale
            torch.bmm(scaled, W.transpose(1, 2).to(G.dtype), out=G[rows])
        if layer.attn_norm is None or stats is None:
            return G
        if layer.attn_norm.weight is not None:
            G *= layer.attn_norm.weight
        if layer.attn_norm.centred:
            G -= G.mean(-1, keepdim=True)
        product = torch.mul(G, stats.x_hat, out=self._buffer("product", *G.shape))
        return G.addcmul_(stats.x_hat, product.mean(-1, keepdim=True), value=-1)

    def _buffer(self, name: str, *shape: int) -> Tensor:
        """A tensor to write in, the same memory every time unless a larger one is needed."""
        size = torch.Size(shape).numel()
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = self.matrix.new_empty(size)
        return self._buffers[name][:size].view(shape)


def _slices(parts: list[Tensor]) -> Iterator[slice]:
    start = 0
    for part in parts:
        yield slice(start, start + len(part))
        start += len(part)
