"""Load models by name, wrap model objects, and choose where they run."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

from eap_plugin.api.registries import backends
from eap_plugin.backend.loading import DeviceMap
from eap_plugin.backend.offloading import devices_of
from eap_plugin.errors import EapPluginError, UsageError, blaming
from eap_plugin.host.plugin import one_line
from eap_plugin.model.remote import RemoteOptions
from eap_plugin.model.residual_model import ResidualModel


def load_model(
    name: str,
    *,
    backend: str = "transformer_lens",
    device: str = "cpu",
    dtype: str = "float32",
    revision: str | None = None,
    remote: bool | str = False,
    device_map: DeviceMap | None = None,
) -> ResidualModel:
    """Load a model by name or path.

    Args:
        name: a shipped model, a hub name, or a folder that ``save_pretrained`` wrote.
        backend: the backend that runs the model; see ``backends()``.
        device: the device to run on, such as ``cpu`` or ``cuda:0``; ``auto`` for a GPU if there is one (under
            ``torchrun``, one for each process).
        dtype: ``float32``, ``float64``, ``bfloat16``, ``float16``, or ``auto`` for that of the stored weights.
        revision: branch, tag or commit of the model on the hub.
        remote: load no weights here and run on a server, with the server's device and dtype; takes the same values
            as in ``prune_scores``.
        device_map: where the parts of a model go that is larger than the device, by accelerate: ``auto`` fills the
            GPU, then the CPU, then the disk; or a device (or ``disk``) for each module by its Hugging Face name.
            Weights on the CPU, beside a GPU, or on disk are loaded whenever they are needed. All other weights must be
            on one device.

    Raises:
        UsageError: if there is no such model or backend, the backend cannot run models on a server, or ``device_map``
            keeps weights on several devices.
        EapPluginError: if the backend's library is not installed.
    """
    provider = backends()[backend]
    missing = provider.missing() if hasattr(provider, "missing") else None
    if missing:
        raise EapPluginError(f"the backend {backend!r} cannot be used here: {missing}")
    with blaming(backends().origin(backend)):
        if remote:
            if (device, dtype) != ("cpu", "float32"):
                raise UsageError("a model on a server has the server's device and dtype; leave device= and dtype= out")
            if device_map is not None:
                raise UsageError("the server decides where a model is; leave device_map= out")
            return provider.load_at(name, RemoteOptions(remote).server(), revision=revision)
        if device_map is None:
            return provider.load(name, device=best_device(device), dtype=dtype, revision=revision)
        if device != "cpu":
            raise UsageError("device_map decides the devices; leave device= out, or device_map=")
        if not getattr(provider, "spreads", False):
            raise UsageError(f"the backend {backend} loads models on one device; leave device_map= out")
        _require_accelerate()
        spread: dict[str, Any] = {"device_map": device_map}
        model = provider.load(name, device=device, dtype=dtype, revision=revision, **spread)
        _require_one_device(model)
        return model


def _require_one_device(model: ResidualModel) -> None:
    """Refuse a model whose weights stay on several devices, since scores multiply activations of different layers."""
    devices = sorted(str(device) for device in devices_of(model.modules()))
    if len(devices) > 1:
        raise UsageError(
            f"the map puts weights on {', '.join(devices)}, and scores need all activations on one device; give the "
            f"layers one device and offload the rest to cpu or disk, or use a server (remote=)"
        )


def best_device(device: str) -> str:
    """Return the name of a device; for ``auto``, a GPU's if there is one: in a process of ``torchrun``, its own."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return f"cuda:{int(os.environ.get('LOCAL_RANK', '0')) % torch.cuda.device_count()}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _require_accelerate() -> None:
    if find_spec("accelerate") is None:
        raise EapPluginError("device_map needs accelerate; install it with: pip install accelerate")


def wrap_model(model: object) -> ResidualModel:
    """Wrap a model object of any library that has a backend as a ``ResidualModel``; the object is not changed.

    Raises:
        UsageError: if no backend accepts it.
    """
    if isinstance(model, ResidualModel):
        return model
    registry = backends()
    troubles = registry.troubles
    for name in registry:
        try:
            accepted = registry[name].accepts(model)
        except Exception as error:
            troubles.append(f"{registry.origin(name)} failed to examine it: {one_line(error)}")
            continue
        if accepted:
            with blaming(registry.origin(name)):
                return registry[name].wrap(model)
    expected = f"expected a model of one of these backends: {', '.join(registry)}"
    raise UsageError(
        "; ".join([f"no backend accepts a {type(model).__module__}.{type(model).__name__}", expected, *troubles])
    )


def placed(model: object, remote: RemoteOptions) -> ResidualModel:
    """Wrap a model and bind it to the server that ``remote`` names, if it names one."""
    wrapped = wrap_model(model)
    if wrapped.remote is not None and not remote.where:
        remote = replace(remote, where=wrapped.remote.url or True)
    if not remote.where:
        if remote.timeout is not None:
            raise UsageError("a timeout applies only to runs on a server; add remote=, or leave it out")
        return wrapped
    return backends()[wrapped.provenance.get("backend", "")].at(wrapped, remote.server())
