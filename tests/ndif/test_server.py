"""The server that the remote tests run on is a real one, and has what they rely on."""

from __future__ import annotations

import contextlib
import threading
import time
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path

import pytest
import torch
from nnsight.intervention.backends.remote import RemoteError
from nnsight.modeling.transformers import TransformersModel
from torch import Tensor

from tests.ndif import models
from tests.ndif.local import HOST
from tests.ndif.server import PORTS, NdifServer
from tests.support import zoo

EMBEDDING = {"gpt2": "transformer.wte", "llama": "model.embed_tokens"}
BLOCK = {"gpt2": "transformer.h.0", "llama": "model.layers.0"}


def change_times_gradient(model: TransformersModel, name: str, remote: str | bool) -> Tensor:
    """Multiply the change of the first block's output by the gradient on the clean prompts, per position."""
    clean, corrupt, answers, _ = zoo.prompts(n=3, length=6)
    embedding = attrgetter(EMBEDDING[name])(model)
    block = attrgetter(BLOCK[name].removesuffix(".0"))(model)[0]
    with model.session(remote=remote):
        with model.trace(corrupt):
            other = block.output.detach()
        with model.trace(clean):
            embedding.output.requires_grad_(True)
            written = block.output
            loss = model.output.logits[:, -1].gather(1, answers).sum()
            gradient = torch.autograd.grad(loss, [written])[0]
            product = ((other - written.detach()) * gradient).sum(-1).save()
    return product


def logits(model: TransformersModel, server: NdifServer) -> Tensor:
    """Compute the logits for one prompt."""
    with model.trace(torch.tensor([[3, 4, 5, 6]]), remote=server.url):
        found = model.output.logits.save()
    return found


def running_request(server: NdifServer) -> str:
    """Wait until a request runs, and return its id."""
    deadline = time.monotonic() + 60
    while not (running := server.running()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return running[0]


@pytest.mark.parametrize("name", models.NAMES)
def test_gradients_are_those_of_this_process(server: NdifServer, model_folders: dict[str, Path], name: str) -> None:
    remote = change_times_gradient(models.without_weights(model_folders[name]), name, server.url)
    local = change_times_gradient(models.with_weights(model_folders[name]), name, False)
    assert local.abs().max() > 1e-2
    torch.testing.assert_close(remote, local, rtol=1e-4, atol=1e-5 * float(local.abs().max()))


def test_versions(server: NdifServer) -> None:
    packages = server.get("/env")["packages"]
    for name in ("nnsight", "torch", "transformers"):
        assert packages[name] == version(name)
    assert "eap-plugin" not in packages and "eap_plugin" not in packages  # code of ours has to travel


def test_only_this_machine_can_connect(server: NdifServer) -> None:
    addresses = server.listening()
    assert len({port for _, port in addresses}) > len(PORTS)
    assert {host.removeprefix("::ffff:") for host, _ in addresses} == {HOST}


def test_cancel_a_running_request(server: NdifServer, model_folders: dict[str, Path]) -> None:
    model = models.without_weights(model_folders["gpt2"])
    errors: list[Exception] = []

    def run() -> None:
        try:
            with model.trace(torch.tensor([[3, 4, 5, 6]]), remote=server.url):
                for _ in range(600):
                    time.sleep(0.1)
                model.output.logits.save()
        except RemoteError as error:
            errors.append(error)

    client = threading.Thread(target=run)
    client.start()
    answer = server.cancel(running_request(server))
    client.join(timeout=30)
    assert answer["status"] == "cancelled_execution"
    assert [str(error) for error in errors] == ["Request cancelled by operator."]
    with contextlib.suppress(RemoteError):  # NDIF often fails the request that follows, and only that
        logits(model, server)
    assert logits(model, server).shape == (1, 4, zoo.VOCAB)


def test_stop_and_start_the_api(server: NdifServer, model_folders: dict[str, Path]) -> None:
    model = models.without_weights(model_folders["gpt2"])
    expected = logits(model, server)
    server.stop_api()
    with pytest.raises(ConnectionRefusedError):
        logits(model, server)
    server.start_api(NDIF_MIN_NNSIGHT_VERSION="99")
    with pytest.raises(RemoteError, match="below the minimum supported 99"):
        logits(model, server)
    server.stop_api()
    server.start_api()
    torch.testing.assert_close(logits(model, server), expected)
