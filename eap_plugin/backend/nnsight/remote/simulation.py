"""A simulated server in this process, which runs what a server would run.

1. The code of the session is pickled, as for a real request.
2. It is unpickled in a state in which modules that a server lacks, such as this package, cannot be imported.
3. The unpickled code is run on the weights here. nnsight's own simulation would run the caller's objects instead.
4. The saved values are written to bytes and read back, as plain values and tensors only.
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

from eap_plugin.model.remote import Remote

_CACHES: tuple[dict[Any, Any], ...] = (linecache.cache, SOURCES, BLOCKS)


class Simulation(LocalSimulationBackend):  # type: ignore[misc]
    """A backend of nnsight that runs the code of a session as a server would, on the weights in this process."""

    def __init__(self, envoy: Any, remote: Remote) -> None:
        """Prepare to run code on a model."""
        super().__init__(envoy)
        self._remote = remote

    def __call__(self, tracer: Any) -> None:
        """Run the code of a session, and assign the values that it saved in the caller's frame."""
        started = time.monotonic()
        pull_env()
        request = RequestModel.serialize(tracer, compress=True)
        with _restored_caches():
            with self._server_imports():
                there = RequestModel.deserialize(request, _persistent_objects(self.model), compress=True)
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
    def _server_imports(self) -> Iterator[None]:
        """Within this context, hide the modules that a server lacks, and let unpickling create new classes."""
        path, classes = list(sys.path), dict(cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID)
        hidden = self._hide_local_modules()
        cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.clear()
        try:
            yield
        finally:
            cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.update(classes)
            self._restore(hidden)
            sys.path[:] = path


def _persistent_objects(envoy: Any) -> dict[str, Any]:
    """Return the objects that a request refers to by name; nnsight has this list only for models with a name."""
    if hasattr(envoy, "_remoteable_persistent_objects"):
        objects: dict[str, Any] = envoy._remoteable_persistent_objects()
        return objects
    return {"Interleaver": envoy.interleaver} | {f"Module:{part.path}": part._module for part in envoy.modules()}


@contextmanager
def _restored_caches() -> Iterator[None]:
    """Restore the caches of source text on exit: unpickling stores sources under names of this process's files."""
    before = [dict(cache) for cache in _CACHES]
    try:
        yield
    finally:
        for cache, content in zip(_CACHES, before, strict=True):
            cache.clear()
            cache.update(content)
