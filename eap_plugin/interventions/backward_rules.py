"""Modified backward rules, as visitors: the forward pass is unchanged, and gradients follow a different rule.

A rule works in three steps:

1. A visitor receives the value that the model computed at a site, such as an attention pattern.
2. It computes a surrogate: a tensor of the same shape, whose derivative is the rule that the gradient should follow.
3. It returns ``straight_through(value, surrogate)``, which equals the value in the forward pass and has the surrogate's
   derivative in the backward pass.

The model's modules are not modified, so a rule works on every backend. To combine rules, merge their visitors in the
order in which this file defines them, and before the visitors of recorders.
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
    """Return a tensor that equals ``value`` exactly and has the derivative of ``surrogate``.

    Args:
        value: the value in the forward pass.
        surrogate: a tensor of the same shape; all entries must be finite.
    """
    surrogate = surrogate.to(value.dtype)
    return value.detach() + (surrogate - surrogate.detach())


def halved_products(model: ResidualModel) -> dict[Site, Visitor]:
    """Halve the gradient of each factor of query · key, pattern · value and gate · linear (in a gated MLP).

    The sum of factor · gradient over both factors of a product is twice the product; with halved gradients it equals
    the product.

    Raises:
        EapPluginError: in the forward pass, if the model has MLPs whose hidden layer the backend cannot access.
    """
    visit: dict[Site, Visitor] = {"scores": _halve, "z": _halve}
    plain = "mlp_post" in model.sites and "mlp_gate" not in model.sites
    return visit | ({"mlp_post": _halve} if model.graph.has_mlp and not plain else {})


def _halve(layer: int, value: Tensor) -> Tensor:
    half = value / 2  # exact, also for scores that an attention mask sets to -inf
    return half + half.detach()


def softened_softmax(temperature: float) -> dict[Site, Visitor]:
    """Use the derivative of attention's softmax at scores / ``temperature`` in the backward pass."""
    seen: dict[int, Tensor] = {}

    def on_scores(layer: int, value: Tensor) -> None:
        seen[layer] = value

    def on_pattern(layer: int, value: Tensor) -> Tensor:
        scores = seen.pop(layer)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return straight_through(value, temperature * torch.softmax(scores / temperature, -1))

    return {"scores": on_scores, "pattern": on_pattern}


def constant_pattern() -> dict[Site, Visitor]:
    """Treat attention patterns as constants: the gradient on queries and keys is zero."""
    return {"pattern": lambda layer, value: straight_through(value, value * 0)}


class IdentityActivations:
    """Visitors that apply the identity rule to MLP activations: a(x) = x · [a(x)/x] with [a(x)/x] held constant.

    At x = 0 the gradient is 0. In a gated MLP, each of the two factors of a(gate) · linear also gets half of the
    gradient.
    """

    def __init__(self, model: ResidualModel) -> None:
        """Prepare one run of ``model``."""
        self._gated = "mlp_gate" in model.sites
        self._has_mlp = model.graph.has_mlp
        self._before: dict[int, Tensor] = {}

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site; none if the model has no MLPs.

        Raises:
            EapPluginError: in the forward pass, if the model has MLPs whose hidden layer the backend cannot access.
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
        return straight_through(value, _as_multiple(self._before.pop(layer), value.detach()))

    def _after_product(self, layer: int, value: Tensor) -> Tensor:
        """Split the gradient between both factors.

        The gate was detached in ``_on_gate``, so ``value`` depends on the linear factor only; half of that gradient is
        kept, and the gate's half is added here.
        """
        return straight_through(value, value / 2 + _as_multiple(self._before.pop(layer), value.detach() / 2))


def _as_multiple(x: Tensor, y: Tensor) -> Tensor:
    """Return ``y`` as ``x`` times a constant, so that its derivative is y / x; 0 where ``x`` is 0."""
    return x * torch.where(x == 0, 0, y / x).detach()


class FrozenNorms:
    """Visitors that hold the scale of every layer norm and RMS norm constant in the backward pass.

    This makes each norm of the residual stream linear. Norms of queries and keys do not act on the residual stream, and
    keep their gradient.
    """

    def __init__(self, model: ResidualModel, last: Int[Tensor, "batch"]) -> None:
        """Prepare one run of ``model``; ``last`` is the position in each prompt at which logits are computed."""
        self._layers, self._final_norm, self._last = model.layers, model.final_norm, last
        self._has_mlp = model.graph.has_mlp
        self._recorder = SiteRecorder(latest_only=True)

    def visitors(self) -> dict[Site, Visitor]:
        """Return the visitors of one run, by site."""
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
    """Raise an error unless the unembedding's input ``value`` is the output of ``norm`` at ``x``."""
    said, found = normed(norm, x.detach()), value.detach()
    rounding = 1e-1 if found.dtype in (torch.float16, torch.bfloat16) else 1e-3
    size = found.pow(2).mean(-1, keepdim=True).sqrt() + said.abs() + found.abs()
    if bool(((said - found).abs() > rounding * size).any()):
        raise EapPluginError(
            "the input of this model's unembedding is not the output of its final norm, so that norm cannot be frozen; "
            "choose an algorithm or an option that does not freeze norms"
        )


def _frozen(norm: Norm | None, x: Tensor, value: Tensor) -> Tensor:
    """Return the norm's output ``value``, made linear in its input ``x``; unchanged if there is no norm."""
    if norm is None:
        return value
    return straight_through(value, norm.linear(x, norm.stats(x.detach()).scale))
