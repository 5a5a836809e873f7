"""Models: loaded by name, or the user's own objects, and where they run."""

from __future__ import annotations

from dataclasses import replace

from eap_plugin.api.registries import backends
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
) -> ResidualModel:
    """Load a model by name or path.

    Args:
        name: a shipped model, a hub name, or a folder that ``save_pretrained`` wrote.
        backend: what runs it; see ``backends()``.
        device: such as ``cpu`` or ``cuda:0``.
        dtype: ``float32``, ``float64``, ``bfloat16`` or ``float16``.
        revision: the hub's branch, tag or commit.
        remote: load no weights, and have runs execute on a server, whose device and dtype they have; as for
            ``prune_scores``.

    Raises:
        UsageError: if there is no such model or backend, or the backend runs in this process only.
        EapPluginError: if the backend's library is not installed.
    """
    provider = backends()[backend]
    missing = provider.missing() if hasattr(provider, "missing") else None
    if missing:
        raise EapPluginError(f"the backend {backend!r} cannot be used here: {missing}")
    with blaming(backends().origin(backend)):
        if remote:
            if (device, dtype) != ("cpu", "float32"):
                raise UsageError("device and dtype are the server's when a model runs there; leave them out")
            return provider.load_at(name, RemoteOptions(remote).server(), revision=revision)
        return provider.load(name, device=device, dtype=dtype, revision=revision)


def wrap_model(model: object) -> ResidualModel:
    """A model object of any library that a backend knows, as a ``ResidualModel``; the object stays as it is.

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
            troubles.append(f"{registry.origin(name)} cannot tell: {one_line(error)}")
            continue
        if accepted:
            with blaming(registry.origin(name)):
                return registry[name].wrap(model)
    expected = f"expected what one of these makes: {', '.join(registry)}"
    raise UsageError(
        "; ".join([f"no backend accepts a {type(model).__module__}.{type(model).__name__}", expected, *troubles])
    )


def placed(model: object, remote: RemoteOptions) -> ResidualModel:
    """A model where it is to run: on the server that is named, or where it runs by itself."""
    wrapped = wrap_model(model)
    if wrapped.remote is not None and not remote.where:
        remote = replace(remote, where=wrapped.remote.url or True)
    if not remote.where:
        if remote.timeout is not None:
            raise UsageError("a time-out is for runs on a server; give remote=, too")
        return wrapped
    return backends()[wrapped.provenance.get("backend", "")].at(wrapped, remote.server())
