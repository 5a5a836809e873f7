"""A server in this process: the block of a session is pickled, read where this package cannot be imported, and run.

nnsight's own simulation then runs the caller's objects; here it is what was read, as on a server.
"""

from __future__ import annotations

import io
import linecache
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from cloudpickle import cloudpickle
from nnsight.intervention.backends.local import LocalSimulationBackend
from nnsight.ndif import pull_env
from nnsight.schema.request import RequestModel
from nnsight.tracing.globals import BLOCKS, SOURCES
from nnsight.tracing.tracer import _saves, save
from nnsight.tracing.util import push

from eap_plugin.remote import Remote

_CACHES: tuple[dict[Any, Any], ...] = (linecache.cache, SOURCES, BLOCKS)


class Simulation(LocalSimulationBackend):  # type: ignore[misc]
    """Runs the block of a session as a server would, on the weights that are here."""

    def __init__(self, envoy: Any, remote: Remote) -> None:
        """Prepare a run of a model."""
        super().__init__(envoy)
        self._remote = remote

    def __call__(self, tracer: Any) -> None:
        """Run the block of ``tracer``, and set what it saved in the frame it is from."""
        started = time.monotonic()
        pull_env()
        request = RequestModel.serialize(tracer, compress=True)
        with _caches_kept():
            with self._elsewhere():
                there = RequestModel.deserialize(request, _kept_there(self.model), compress=True)
            there.execute(there.info.code)
        answer = io.BytesIO()
        torch.save({name: value for name, value in there.info.frame.f_locals.items() if id(value) in _saves()}, answer)
        result = torch.load(io.BytesIO(answer.getvalue()), weights_only=True)
        for value in result.values():
            save(value)
        push(tracer.info.frame, result)
        self._remote.requests += 1
        self._remote.bytes_sent += len(request)
        self._remote.bytes_received += len(answer.getvalue())
        self._remote.seconds += time.monotonic() - started

    @contextmanager
    def _elsewhere(self) -> Iterator[None]:
        """Within it modules that a server lacks cannot be imported, and classes that are read are new ones."""
        path, classes = list(sys.path), dict(cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID)
        hidden = self._hide_local_modules()
        cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        try:
            yield
        finally:
            cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.update(classes)
            self._restore(hidden)
            sys.path[:] = path


def _kept_there(envoy: Any) -> dict[str, Any]:
    """List what a request only names; nnsight itself does so for models that servers know by name."""
    if hasattr(envoy, "_remoteable_persistent_objects"):
        objects: dict[str, Any] = envoy._remoteable_persistent_objects()
        return objects
    return {"Interleaver": envoy.interleaver} | {f"Module:{part.path}": part._module for part in envoy.modules()}


@contextmanager
def _caches_kept() -> Iterator[None]:
    """Sources that are registered within it, under names of this process's files, are forgotten afterwards."""
    before = [dict(cache) for cache in _CACHES]
    try:
        yield
    finally:
        for cache, content in zip(_CACHES, before, strict=True):
            cache.clear()
            cache.update(content)
