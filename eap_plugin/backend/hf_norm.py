"""What TransformerLens' norm components say of Hugging Face's norms, as a formula. Imports no library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from eap_plugin.errors import EapPluginError
from eap_plugin.norm import Norm


@dataclass(frozen=True)
class NormForm:
    """The formula of a norm but for its weights.

    Attributes:
        eps: what is added to the mean of the squares.
        centred: a layer norm, which takes the mean off first; else an RMS norm.
        offset: the module multiplies by 1 + weight.
    """

    eps: float
    centred: bool
    offset: bool


def norm_form(component: Any) -> NormForm | None:
    """The form of a norm component that has its module; ``None`` if the module does nothing.

    Raises:
        EapPluginError: if neither component nor module tells what kind of norm it is.
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
    """Whether a norm is an RMS norm; told by its component or, if that is not one for norms, by its class's name."""
    told = getattr(component, "uses_rms_norm", None)
    if told is not None:
        return bool(told)
    name = type(module).__name__
    if "RMSNorm" not in name and not isinstance(module, nn.LayerNorm):
        raise EapPluginError(f"the norm {name} has no formula here; expected a layer norm or an RMS norm")
    return "RMSNorm" in name


def norm_of(form: NormForm, module: Any) -> Norm:
    """The norm that a module of this form is, with views of its weights."""
    weight: Tensor | None = getattr(module, "weight", None)
    bias: Tensor | None = getattr(module, "bias", None)
    if weight is not None:
        weight = weight.detach()
        weight = weight.to(torch.promote_types(weight.dtype, torch.float32)) + 1 if form.offset else weight
    return Norm(weight, None if bias is None else bias.detach(), form.eps, form.centred)
