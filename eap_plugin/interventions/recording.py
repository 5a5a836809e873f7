"""Recording of a run: the output of every writer, and the gradient at every reader.

A run is recorded in four steps:

1. ``WriterRecorder`` and ``GradientRecorder`` supply visitors; ``merge`` combines them with those that modify the run.
2. During the forward pass, ``WriterRecorder`` copies each writer's output: the embedding, each head's ``z`` (its output
   before W_O) and each MLP's output. ``GradientRecorder`` detaches the embedding and makes it require a gradient, so
   that autograd follows the run although all weights are frozen, and keeps each reader's input.
3. After the forward pass, ``WriterRecorder.writers`` returns the outputs.
4. ``GradientRecorder.gradients`` runs the backward pass of a loss, and returns the gradients on each head's q, k and v,
   on each MLP's input after its norm, and on the final norm's input.

Heads are stored as ``z`` and as gradients on q, k and v, in d_head dimensions each. No head gets a copy of the residual
stream; ``algorithm.gradient.scorer`` expands heads to d_model, a few positions at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.interventions.site_recorder import LayerSite, SiteRecorder
from eap_plugin.interventions.writer_outputs import Writers, scaled_z
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


@dataclass
class ReaderGradients:
    """The inputs of the readers in one run, and the gradient of the loss with respect to them.

    Attributes:
        attn_in: per layer, the residual stream before attention's norm, [batch, pos, d_model].
        q, k, v: per layer, the gradient on the projections, [batch, pos, heads, d_head].
        mlp_in: per layer, the residual stream before the MLP's norm.
        mlp: per layer, the gradient on the output of the MLP's norm.
        final: the gradient on the residual stream before the final norm.
        frozen_norms: whether the readers' own norms are differentiated with their scales held constant.
    """

    attn_in: list[Float[Tensor, "batch pos d_model"]]
    q: list[Float[Tensor, "batch pos heads d_head"]]
    k: list[Float[Tensor, "batch pos kv_heads d_head"]]
    v: list[Float[Tensor, "batch pos kv_heads d_head"]]
    mlp_in: list[Float[Tensor, "batch pos d_model"]]
    mlp: list[Float[Tensor, "batch pos d_model"]]
    final: Float[Tensor, "batch pos d_model"]
    frozen_norms: bool = False

    def numel(self) -> int:
        """Return the number of entries of all tensors."""
        parts = (self.attn_in, self.q, self.k, self.v, self.mlp_in, self.mlp, [self.final])
        return sum(x.numel() for part in parts for x in part)


R = TypeVar("R", Writers, ReaderGradients)


def mapped(record: R, change: Callable[[Tensor], Tensor]) -> R:
    """Apply a function to every tensor of a record."""
    parts: dict[str, Any] = dict(vars(record))
    for name, part in parts.items():
        if isinstance(part, list):
            parts[name] = [change(x) for x in part]
        elif isinstance(part, Tensor):
            parts[name] = change(part)
    return replace(record, **parts)


class WriterRecorder:
    """Visitors that record what every writer adds to the residual stream, from position ``start`` on."""

    def __init__(self, model: ResidualModel, start: int = 0) -> None:
        """Prepare to record runs of ``model``."""
        self._layers, self._start, self._has_mlp = model.layers, start, model.graph.has_mlp
        self._embed: Tensor | None = None
        self._z: dict[int, Tensor] = {}
        self._mlp: dict[int, Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        visit: dict[Site, Visitor] = {"embed": self._on_embed, "z": self._on_z}
        return visit | ({"mlp_out": self._on_mlp_out} if self._has_mlp else {})

    def writers(self) -> Writers:
        """Return the recorded outputs.

        Raises:
            EapPluginError: if some site was not reached in the run.
        """
        n_layers = len(self._layers)
        if self._embed is None or len(self._z) != n_layers or len(self._mlp) != n_layers * self._has_mlp:
            raise EapPluginError("some writer sites were never reached; the backend maps them to the wrong modules")
        order = range(n_layers)
        return Writers(self._embed, [self._z[i] for i in order], [self._mlp[i] for i in order if self._has_mlp])

    def _on_embed(self, layer: int, value: Tensor) -> None:
        self._embed = value.detach()[:, self._start :].clone()

    def _on_z(self, index: int, value: Tensor) -> None:
        self._z[index] = scaled_z(self._layers[index], value.detach()[:, self._start :])

    def _on_mlp_out(self, layer: int, value: Tensor) -> None:
        self._mlp[layer] = value.detach()[:, self._start :].clone()


class GradientRecorder:
    """Visitors that record the inputs of readers during a run, for the gradient with respect to them afterwards.

    The embedding is made to require a gradient, as autograd would not follow a run of frozen weights otherwise.
    """

    def __init__(
        self,
        model: ResidualModel,
        start: int = 0,
        frozen_norms: bool = False,
        cut: frozenset[LayerSite] = frozenset(),
    ) -> None:
        """Prepare to record runs of ``model``.

        Args:
            model: the model.
            start: the first position to record.
            frozen_norms: whether other visitors hold the norms' scales constant in the backward pass.
            cut: readers whose gradient is set to zero.
        """
        self._graph, self._start, self._frozen_norms, self._cut = model.graph, start, frozen_norms, cut
        self._recorder = SiteRecorder()
        self._embed: list[Tensor] = []

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
        sites: list[Site] = ["attn_in", "q", "k", "v", "final"]
        if self._graph.has_mlp:
            sites += ["mlp_in", "mlp"]
        return self._recorder.visitors(*sites) | {"embed": self._on_embed}

    def _on_embed(self, layer: int, value: Tensor) -> Tensor:
        self._embed = [make_differentiable(layer, value)]
        return self._embed[0]

    def gradients(self, loss: Float[Tensor, ""], *, keep_graph: bool = False) -> ReaderGradients:
        """Return the gradient of ``loss`` at every reader.

        Args:
            loss: a scalar computed from this run's logits.
            keep_graph: keep the run's autograd graph for further backward passes; if false, it is freed.

        Raises:
            UsageError: if the loss does not require a gradient.
            EapPluginError: if the loss does not depend on some reader, which the message names.
        """
        if not loss.requires_grad:
            raise UsageError(
                "the metric has no gradient; choose another, such as logit_diff, or an algorithm without gradients, "
                "such as exact; a function must compute it from the logits by torch operations, without detach or item"
            )
        values = self._recorder.values
        keys = [key for key in values if key[0] not in ("attn_in", "mlp_in") and key not in self._cut]
        hooked = [embed for embed in self._embed if embed._backward_hooks]  # somebody wants its gradient
        inputs = [values[key] for key in keys] + hooked
        grads = torch.autograd.grad(loss, inputs, retain_graph=keep_graph, allow_unused=True)[: len(keys)]
        for (site, layer), grad in zip(keys, grads, strict=True):
            if grad is None:
                raise EapPluginError(
                    f"no gradient reaches site {site!r} of layer {layer}: either the metric does not depend on it, "
                    f"or the backend hooks a tensor that the model does not use"
                )
        found = {key: grad[:, self._start :] for key, grad in zip(keys, grads, strict=True)}
        found |= {key: torch.zeros_like(self._residual(*key)) for key in self._cut}
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
            frozen_norms=self._frozen_norms,
        )

    def _residual(self, site: Site, layer: int) -> Tensor:
        return self._recorder.values[site, layer].detach()[:, self._start :]


def merge(*visitors: Mapping[Site, Visitor]) -> dict[Site, Visitor]:
    """Combine visitors: at each site they are called in order, each with the value that the previous one returned."""
    sites = dict.fromkeys(site for visit in visitors for site in visit)
    return {site: _chain([visit[site] for visit in visitors if site in visit]) for site in sites}


def _chain(visitors: Sequence[Visitor]) -> Visitor:
    def visitor(layer: int, value: Tensor) -> Tensor:
        for visit in visitors:
            new = visit(layer, value)
            value = value if new is None else new
        return value

    return visitor


def make_differentiable(layer: int, value: Tensor) -> Tensor:
    """Start autograd's graph at a site; a visitor."""
    return value.detach().requires_grad_()
