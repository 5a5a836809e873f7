"""What the remote tests run: data, and metrics that take their time or fail."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

import eap_plugin
from eap_plugin import Batch, EapPluginError
from eap_plugin.model.residual_model import ResidualModel
from tests.ndif.server import NdifServer
from tests.support.zoo import prompts

DATA = [Batch(*prompts(4, 7)), Batch(*prompts(3, 5, seed=1)), Batch(*prompts(5, 6, seed=2))]
WITHIN = 60.0
"""Seconds for what a test waits for."""


def slow(logits: Tensor, batch: Batch) -> Tensor:
    """Compute a metric slowly, in small steps, between which a server can cancel it."""
    for _ in range(200):
        time.sleep(0.1)
    return logits.gather(1, batch.answers)[:, 0]


def failing(logits: Tensor, batch: Batch) -> Tensor:
    """Raise an error instead of computing a metric."""
    return torch.zeros(2) @ logits


def running(server: NdifServer) -> str:
    """Wait until a request runs, and return its id."""
    deadline = time.monotonic() + WITHIN
    while not (ids := server.running()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return ids[0]


@contextmanager
def slow_run(model: ResidualModel, server: NdifServer) -> Iterator[list[EapPluginError]]:
    """Keep a run going inside the context; afterwards its error is in the list."""
    errors: list[EapPluginError] = []

    def run() -> None:
        try:
            eap_plugin.prune_scores(model, DATA[:1], metric=slow)
        except EapPluginError as error:
            errors.append(error)

    client = threading.Thread(target=run)
    client.start()
    running(server)
    yield errors
    client.join(WITHIN)
    assert not client.is_alive()


def idle(server: NdifServer) -> None:
    """Cancel whatever a test left running on the server."""
    deadline = time.monotonic() + WITHIN
    while ids := server.running():
        assert time.monotonic() < deadline
        with contextlib.suppress(KeyError):
            server.cancel(ids[0])
        time.sleep(0.1)
