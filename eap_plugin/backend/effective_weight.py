"""The weight that a projection effectively applies: with LoRA adapters added and weight-only quantisation undone.

Adapters and quantised tensors are recognized by their attributes, so neither peft nor torchao is imported.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eap_plugin.backend.offloading import loaded_parameter
from eap_plugin.errors import EapPluginError

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
QUANTISED_READS = ("act_quant_kwargs", "act_quant_scale", "activation_quantization")
"""Attributes of a torchao weight that are set if the layer quantises its activations, too."""

MERGE = "merge it into the weights with merge_and_unload()"
LOAD = "load the model in floating point, or with torchao's weight-only quantisation (Int8WeightOnlyConfig)"


def effective_weight(module: Any, path: str) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """Return a projection's weight as [d_in, d_out] and its bias: views, unless it is adapted or quantised.

    Args:
        module: a ``Linear`` or ``Conv1D``, or the peft layer around one.
        path: its name, for error messages.

    Raises:
        EapPluginError: if its weight cannot be read, naming the adapter or the quantisation.
    """
    if not hasattr(module, "base_layer"):
        return _stored(module, path)
    base, bias = effective_weight(module.base_layer, path)
    weight = base
    for name in active_adapters(module, path):
        weight, bias = _with_adapter(module, name, base, weight, bias)
    return weight.to(base.dtype), None if bias is None else bias.to(base.dtype)


def innermost(module: Any) -> Any:
    """Return the ``Linear`` or ``Conv1D`` inside all adapters; the module itself, if there are none."""
    while hasattr(module, "base_layer"):
        module = module.base_layer
    return module


def require_gradients(modules: Iterable[tuple[str, nn.Module]]) -> None:
    """Refuse a model with layers that quantise their activations, since gradients do not pass through rounding.

    Args:
        modules: all modules of the model, with their names.

    Raises:
        EapPluginError: naming the first such layer.
    """
    for path, module in modules:
        weight = module._parameters.get("weight")
        dynamic = any(getattr(weight, name, None) is not None for name in QUANTISED_READS)
        if dynamic or type(module).__module__.startswith("torch.ao.nn.quantized"):
            raise EapPluginError(
                f"{path} ({_class(weight if dynamic else module)}) quantises its activations, and no gradient passes "
                f"through the rounding; {LOAD}"
            )


def _stored(module: Any, path: str) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """Return the weight and bias of a module without adapters."""
    weight, bias = loaded_parameter(module, "weight"), loaded_parameter(module, "bias")
    if not isinstance(weight, Tensor) or weight.dtype not in FLOATING:
        kept = f"in {weight.dtype}" if isinstance(weight, Tensor) else "packed"
        raise EapPluginError(f"the weight of {path} ({_class(module)}) is quantised and stored {kept}; {LOAD}")
    if type(weight).dequantize is not Tensor.dequantize:
        weight = weight.dequantize()
    weight = weight.detach()
    return weight.T if isinstance(module, nn.Linear) else weight, None if bias is None else bias.detach()


def active_adapters(module: Any, path: str) -> list[str]:
    """List the names of the adapters that change the output of a projection; none, if it is not a peft layer.

    Raises:
        EapPluginError: if one of them is not of a type that amounts to a changed weight.
    """
    if not hasattr(module, "base_layer"):
        return []
    if module.merged and module.disable_adapters:
        raise EapPluginError(f"the adapters of {path} are disabled but merged; call unmerge_adapter() first")
    if module.merged or module.disable_adapters:
        return []
    if not isinstance(getattr(module, "lora_A", None), nn.ModuleDict):
        raise EapPluginError(
            f"{path} has an adapter of type {_class(module)}, but only LoRA and DoRA are supported; {MERGE}"
        )
    names = [name for name in module.active_adapters if name in module.lora_A]
    for name in names:
        variant = getattr(module, "lora_variant", {}).get(name)
        if variant is not None and type(variant).__name__ != "DoraLinearVariant":
            raise EapPluginError(
                f"the adapter {name!r} of {path} is of type {_class(variant)}, but only LoRA and DoRA are supported; "
                f"{MERGE}"
            )
        own, base = module.lora_A[name].weight.dtype, innermost(module).weight.dtype
        if torch.promote_types(own, base) != own:
            raise EapPluginError(
                f"the adapter {name!r} of {path} is in {own} and its weight in {base}, so it rounds its input; "
                f"convert the whole model to one dtype, or {MERGE}"
            )
    return names


def _with_adapter(
    module: Any,
    name: str,
    base: Float[Tensor, "d_in d_out"],
    weight: Float[Tensor, "d_in d_out"],
    bias: Float[Tensor, "d_out"] | None,
) -> tuple[Float[Tensor, "d_in d_out"], Float[Tensor, "d_out"] | None]:
    """Add one adapter: LoRA adds s·A·B to the weight; DoRA then rescales each column to a learned length."""
    down, up, scale = module.lora_A[name], module.lora_B[name], module.scaling[name]
    dtype = torch.promote_types(torch.promote_types(base.dtype, up.weight.dtype), torch.float32)
    change = scale * down.weight.detach().to(dtype).T @ up.weight.detach().to(dtype).T
    weight = weight.to(dtype) + change
    if name in module.lora_magnitude_vector:
        length = (base.to(dtype) + change).norm(dim=0)
        weight = weight * (module.lora_magnitude_vector[name].weight.detach().to(dtype) / length)
    if up.bias is not None:
        added = scale * up.bias.detach().to(dtype)
        bias = added if bias is None else bias.to(dtype) + added
    return weight, bias


def _class(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"
