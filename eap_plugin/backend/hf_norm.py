"""The formulas of Hugging Face's norms, from TransformerLens' components for them. Imports neither library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eap_plugin.backend.offloading import loaded_parameter
from eap_plugin.errors import EapPluginError
from eap_plugin.model.norm import Norm


@dataclass(frozen=True)
class NormForm:
    """The formula of a norm, without its weights.

    Attributes:
        eps: the number added to the mean of the squares.
        centred: true for a layer norm, which subtracts the mean first; false for an RMS norm.
        offset: whether the module multiplies by 1 + weight.
    """

    eps: float
    centred: bool
    offset: bool


def norm_form(component: Any) -> NormForm | None:
    """Return the formula of a norm from its component and the module set in it; ``None`` if the module is the identity.

    Raises:
        EapPluginError: if neither the component nor the module tells which kind of norm it is.
    """
    module = component.original_component
    if isinstance(module, nn.Identity):
        return None
    eps = getattr(module, "eps", getattr(module, "variance_epsilon", None))
    return NormForm(
        eps=float(component.config.eps if eps is None else eps),
        centred=not _is_rms(component, module),
        offset=bool(getattr(component, "uses_weight_offset", False)),
    )


def _is_rms(component: Any, module: Any) -> bool:
    """Return whether a norm is an RMS norm: ask its component or, if that does not know, the name of its class."""
    told = getattr(component, "uses_rms_norm", None)
    if told is not None:
        return bool(told)
    name = type(module).__name__
    if "RMSNorm" not in name and not isinstance(module, nn.LayerNorm):
        raise EapPluginError(f"unsupported norm {name}; expected a layer norm or an RMS norm")
    return "RMSNorm" in name


def norm_of(form: NormForm, module: Any) -> Norm:
    """Return the norm that a module computes, given its formula; the weights are views of the module's."""
    weight: Tensor | None = loaded_parameter(module, "weight")
    bias: Tensor | None = loaded_parameter(module, "bias")
    if weight is not None:
        weight = weight.detach()
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32)) + 1 if form.offset else weight
    return Norm(weight, None if bias is None else bias.detach(), form.eps, form.centred)
