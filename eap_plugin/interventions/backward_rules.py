"""Changed backward rules, as visitors: the forward pass stays as it is, gradients go another way.

A visitor gives back ``straight_through(value, surrogate)``: the value forwards, the surrogate's derivative backwards.
So no module is touched, on any backend. Rules are merged in the order of this file, before the recorders.
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from eap_plugin.errors import EapPluginError
from eap_plugin.interventions.site_recorder import SiteRecorder
from eap_plugin.interventions.writer_outputs import attention_output
from eap_plugin.model.norm import Norm, normed
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


def straight_through(value: Tensor, surrogate: Tensor) -> Tensor:
    """``value`` forwards, to the last bit; the derivative of ``surrogate``, a finite tensor of its shape, backwards."""
    surrogate = surrogate.to(value.dtype)
    return value.detach() + (surrogate - surrogate.detach())


def halved_products(model: ResidualModel) -> dict[Site, Visitor]:
    """Each factor of query · key, pattern · value and gate · linear (in a gated MLP) gets half of its gradient.

    For a product, Σ factor · gradient over both factors is twice the product; halved, it is the product.

    Raises:
        EapPluginError: in the forward pass, if the model has MLPs whose hidden layer cannot be seen.
    """
    visit: dict[Site, Visitor] = {"scores": _halve, "z": _halve}
    plain = "mlp_post" in model.sites and "mlp_gate" not in model.sites
    return visit | ({"mlp_post": _halve} if model.graph.has_mlp and not plain else {})


def _halve(layer: int, value: Tensor) -> Tensor:
    half = value / 2  # exact, and good for the scores that a mask makes infinite, too
    return half + half.detach()


def softened_softmax(temperature: float) -> dict[Site, Visitor]:
    """Attention's softmax goes backwards as it would if the scores were divided by ``temperature``."""
    seen: dict[int, Tensor] = {}

    def on_scores(layer: int, value: Tensor) -> None:
        seen[layer] = value

    def on_pattern(layer: int, value: Tensor) -> Tensor:
        scores = seen.pop(layer)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return straight_through(value, temperature * torch.softmax(scores / temperature, -1))

    return {"scores": on_scores, "pattern": on_pattern}


def constant_pattern() -> dict[Site, Visitor]:
    """Attention patterns are constants: zeros go back to queries and keys."""
    return {"pattern": lambda layer, value: straight_through(value, value * 0)}


class IdentityActivations:
    """Visitors for which an MLP's activation is its input times a constant, a(x) = x · [a(x)/x]; 0 where x is 0.

    In a gated MLP, the two factors of a(gate) · linear share the gradient equally besides.
    """

    def __init__(self, model: ResidualModel) -> None:
        """Prepare one run of ``model``."""
        self._gated = "mlp_gate" in model.sites
        self._has_mlp = model.graph.has_mlp
        self._before: dict[int, Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site; nothing if there are no MLPs.

        Raises:
            EapPluginError: in the forward pass, if the model has MLPs whose hidden layer cannot be seen.
        """
        if not self._has_mlp:
            return {}
        if self._gated:
            return {"mlp_gate": self._on_gate, "mlp_post": self._after_product}
        return {"mlp_pre": self._on_pre, "mlp_post": self._after_activation}

    def _on_pre(self, layer: int, value: Tensor) -> None:
        self._before[layer] = value

    def _on_gate(self, layer: int, value: Tensor) -> Tensor:
        self._before[layer] = value
        return value.detach()

    def _after_activation(self, layer: int, value: Tensor) -> Tensor:
        return straight_through(value, _in_proportion(self._before.pop(layer), value.detach()))

    def _after_product(self, layer: int, value: Tensor) -> Tensor:
        """``value`` depends on the linear factor only: the gate was let go, and its share is added here."""
        return straight_through(value, value / 2 + _in_proportion(self._before.pop(layer), value.detach() / 2))


def _in_proportion(x: Tensor, y: Tensor) -> Tensor:
    """``y`` as ``x`` times a constant; 0 where x is 0."""
    return x * torch.where(x == 0, 0, y / x).detach()


class FrozenNorms:
    """Visitors for which every layer or RMS norm of the residual stream is linear, its scale held as it is.

    Norms of queries and keys are not of the residual stream, and stay as they are.
    """

    def __init__(self, model: ResidualModel, last: Int[Tensor, "batch"]) -> None:
        """Prepare one run of ``model``, whose logits are wanted at the positions ``last``."""
        self._layers, self._final_norm, self._last = model.layers, model.final_norm, last
        self._has_mlp = model.graph.has_mlp
        self._recorder = SiteRecorder(latest_only=True)

    def visitors(self) -> dict[Site, Visitor]:
        """What to call at which site."""
        read = self._recorder.visitors
        visit = read("attn_in", "final") | {"attn": self._on_attn, "unembed": self._on_unembed}
        if self._has_mlp:
            visit |= read("mlp_in") | {"mlp": self._on_mlp}
        if any(layer.attn_post_norm is not None for layer in self._layers):
            visit |= read("z") | {"attn_out": self._on_attn_out}
        if any(layer.mlp_post_norm is not None for layer in self._layers):
            visit |= read("mlp_proj") | {"mlp_out": self._on_mlp_out}
        return visit

    def _on_attn(self, layer: int, value: Tensor) -> Tensor:
        return _frozen(self._layers[layer].attn_norm, self._recorder.values["attn_in", layer], value)

    def _on_attn_out(self, index: int, value: Tensor) -> Tensor:
        layer = self._layers[index]
        return _frozen(layer.attn_post_norm, attention_output(layer, self._recorder.values["z", index]), value)

    def _on_mlp(self, layer: int, value: Tensor) -> Tensor:
        return _frozen(self._layers[layer].mlp_norm, self._recorder.values["mlp_in", layer], value)

    def _on_mlp_out(self, layer: int, value: Tensor) -> Tensor:
        return _frozen(self._layers[layer].mlp_post_norm, self._recorder.values["mlp_proj", layer], value)

    def _on_unembed(self, layer: int, value: Tensor) -> Tensor:
        final = self._recorder.values["final", layer]
        final = final[torch.arange(len(final), device=final.device), self._last][None]
        _require_output(self._final_norm, final, value)
        return _frozen(self._final_norm, final, value)


def _require_output(norm: Norm | None, x: Tensor, value: Tensor) -> None:
    """Refuse a model that reads something else before the logits than what the norm gives at ``x``."""
    said, found = normed(norm, x.detach()), value.detach()
    rounding = 1e-1 if found.dtype in (torch.float16, torch.bfloat16) else 1e-3
    size = found.pow(2).mean(-1, keepdim=True).sqrt() + said.abs() + found.abs()
    if bool(((said - found).abs() > rounding * size).any()):
        raise EapPluginError(
            "between the last block and the logits this model has something besides a norm that is known, so norms "
            "cannot be held constant there; choose an algorithm or an option that does not freeze norms"
        )


def _frozen(norm: Norm | None, x: Tensor, value: Tensor) -> Tensor:
    """The norm's output ``value`` at ``x``, linear in ``x``; as it is where there is no norm."""
    if norm is None:
        return value
    return straight_through(value, norm.linear(x, norm.stats(x.detach()).scale))
