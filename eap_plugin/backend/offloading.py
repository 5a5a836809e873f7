"""Models whose weights accelerate keeps on the CPU or on disk until they are needed.

A module with offloaded weights has parameters on the device ``meta``. Its hook loads them before the module's forward
pass and drops them after it.

1. ``loaded_parameter`` reads such a weight where the module stores it, for whoever needs it between passes.
2. ``LayersOnDemand`` reads the weights of a block when they are asked for, and keeps those of the last block only.
3. Autograd would keep every loaded weight for the backward pass. In ``reloading_weights`` it keeps a note of the module
   instead, and the weight is loaded again during the backward pass.

Accelerate is recognized by its hooks' attributes, and is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, overload

import torch
from torch import Tensor, nn

from eap_plugin.model.layer import Layer


def is_offloaded(modules: Iterable[nn.Module]) -> bool:
    """Return whether some weights of modules, their submodules included, are not in memory."""
    return any(p.is_meta for module in modules for p in nn.Module.parameters(module))


def devices_of(modules: Iterable[nn.Module]) -> set[torch.device]:
    """Return the devices that hold weights of modules, their submodules included."""
    return {p.device for module in modules for p in nn.Module.parameters(module) if not p.is_meta}


def loaded_parameter(module: nn.Module, name: str) -> Any:
    """Return a parameter of a module, loaded if it is offloaded; ``None`` if there is none of this name."""
    parameter = getattr(module, name, None)
    if not isinstance(parameter, Tensor) or not parameter.is_meta:
        return parameter
    hook = _offloading_hook(module)
    return hook.weights_map[name].to(hook.execution_device, parameter.dtype)


def input_device(model: nn.Module) -> torch.device:
    """Return the device on which a model takes tokens: that of its first weights, when they are loaded."""
    for module in nn.Module.modules(model):
        for parameter in module._parameters.values():
            if parameter is not None:
                on_demand = parameter.is_meta and hasattr(module, "_hf_hook")
                return torch.device(_offloading_hook(module).execution_device) if on_demand else parameter.device
    return torch.device("cpu")


class LayersOnDemand(Sequence[Layer]):
    """The layers of a model, each read when it is asked for; only the last one stays in memory."""

    def __init__(self, n_layers: int, read: Callable[[int], Layer]) -> None:
        """Prepare to read ``n_layers`` layers with ``read``."""
        self._n_layers, self._read = n_layers, read
        self._last: tuple[int, Layer] | None = None

    def __len__(self) -> int:
        """Return the number of layers."""
        return self._n_layers

    @overload
    def __getitem__(self, index: int) -> Layer: ...

    @overload
    def __getitem__(self, index: slice) -> list[Layer]: ...

    def __getitem__(self, index: int | slice) -> Layer | list[Layer]:
        """Read a layer."""
        if isinstance(index, slice):
            return [self[i] for i in range(self._n_layers)[index]]
        index = range(self._n_layers)[index]
        if self._last is None or self._last[0] != index:
            self._last = None  # so that two layers are never in memory
            self._last = index, self._read(index)
        return self._last[1]


class _Stored(NamedTuple):
    """A view of an offloaded weight, as autograd keeps it."""

    module: nn.Module
    name: str
    size: torch.Size
    stride: tuple[int, ...]
    offset: int
    dtype: torch.dtype

    def load(self) -> Tensor:
        weight = loaded_parameter(self.module, self.name).detach().contiguous()
        view: Tensor = weight.to(self.dtype).as_strided(self.size, self.stride, self.offset)
        return view


def reloading_weights(modules: Iterable[nn.Module]) -> AbstractContextManager[Any]:
    """Return a context in which autograd does not keep offloaded weights, but loads them when it needs them.

    Args:
        modules: the modules with such weights, and all their submodules.
    """
    return torch.autograd.graph.saved_tensors_hooks(_Offloaded(modules).pack, _unpack)


class _Offloaded:
    """The offloaded weights of modules, to recognize them once they are loaded."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._by_size: dict[int, list[tuple[nn.Module, str]]] = {}
        for module in modules:
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.is_meta:
                    self._by_size.setdefault(parameter.numel(), []).append((module, name))

    def pack(self, tensor: Tensor) -> Tensor | _Stored:
        """Return what autograd is to keep in place of a tensor."""
        for module, name in self._by_size.get(tensor.numel(), ()):
            loaded = module._parameters[name]
            if loaded is not None and not loaded.is_meta and _same_storage(loaded, tensor) and loaded.is_contiguous():
                offset = int(tensor.storage_offset() - loaded.storage_offset())
                return _Stored(module, name, tensor.size(), tensor.stride(), offset, tensor.dtype)
        return tensor


def _unpack(kept: Tensor | _Stored) -> Tensor:
    return kept.load() if isinstance(kept, _Stored) else kept


def _same_storage(a: Tensor, b: Tensor) -> bool:
    return a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()


def _offloading_hook(module: nn.Module) -> Any:
    """Return the hook of accelerate that loads a module's weights."""
    hook: Any = module._hf_hook
    return next((one for one in getattr(hook, "hooks", ()) if getattr(one, "offload", False)), hook)
