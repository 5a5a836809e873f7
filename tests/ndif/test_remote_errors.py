"""Each thing that can go wrong with a server is one line that says what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from nnsight.schema.config import CONFIG

import eap_plugin
from eap_plugin import EapPluginError, UsageError
from eap_plugin.cli import main
from eap_plugin.model.residual_model import ResidualModel
from tests.ndif import models
from tests.ndif.local import free_ports
from tests.ndif.runs import DATA, failing, idle, running, slow, slow_run
from tests.ndif.server import NdifServer

KEY = "not-to-be-seen"


@pytest.fixture
def model(server: NdifServer, model_folders: dict[str, Path]) -> Iterator[ResidualModel]:
    yield eap_plugin.load_model(str(model_folders["gpt2"]), backend="nnsight", remote=server.url)
    idle(server)


@pytest.fixture(autouse=True)
def lines(request: pytest.FixtureRequest, record_property: pytest.RecordProperty) -> Iterator[list[str]]:
    """Collect the messages that a test saw, for the summary."""
    seen: list[str] = []
    yield seen
    for line in seen:
        record_property("line", line)


def error(model: ResidualModel, lines: list[str], **how: object) -> str:
    """Return the one-line message with which a run fails."""
    with pytest.raises(EapPluginError) as caught:
        eap_plugin.prune_scores(model, DATA, **how)
    assert "\n" not in str(caught.value)
    lines.append(str(caught.value))
    return str(caught.value)


@contextmanager
def api(server: NdifServer, **variables: str) -> Iterator[None]:
    """Run the server's API with other settings."""
    server.stop_api()
    try:
        server.start_api(**variables)
        yield
    finally:
        server.stop_api()
        server.start_api()


def test_unreachable(model: ResidualModel, server: NdifServer, lines: list[str]) -> None:
    (port,) = free_ports(1)
    said = error(model, lines, remote=f"http://127.0.0.1:{port}")
    assert re.fullmatch(rf"cannot reach http://127\.0\.0\.1:{port}: .*refused.*; check the address and .* up", said)


def test_an_api_key_is_asked_for_and_seen_nowhere(
    model: ResidualModel, server: NdifServer, lines: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CONFIG.API, "APIKEY", KEY)
    saved = tmp_path / "scores.safetensors"
    run = ("run", "ioi-gpt2", "--backend", "nnsight", "--remote", server.url, "--task", "ioi", "-o", str(saved))
    accepted = CliRunner().invoke(main, run)
    assert accepted.exit_code == 0, accepted.output
    with api(server, NDIF_POSTGRES_URL="postgresql://127.0.0.1:1/keys"):
        refused = CliRunner().invoke(main, (*run, "--overwrite"))
        with pytest.raises(EapPluginError) as caught:
            eap_plugin.prune_scores(model, DATA)
        monkeypatch.setattr(CONFIG.API, "APIKEY", None)
        missing = error(model, lines)
    lines.append(str(caught.value))
    assert missing.startswith(f"{server.url} requires an API key; set NDIF_API_KEY")
    assert str(caught.value).startswith(f"{server.url} does not accept this API key; set NDIF_API_KEY")
    assert refused.exit_code == 1 and refused.stderr.endswith(f"Error: {caught.value}\n")
    told = accepted.output + refused.output + "".join(traceback.format_exception(caught.value))
    assert KEY not in told and KEY.encode() not in saved.read_bytes()


def test_a_model_that_is_not_served(server: NdifServer, lines: list[str], tmp_path: Path) -> None:
    folder = models.save("gpt2", tmp_path)
    model = eap_plugin.load_model(str(folder), backend="nnsight", remote=server.url)
    (folder / "model.safetensors").unlink()
    (folder / "config.json").unlink()
    said = error(model, lines)
    assert said.startswith(f"{server.url} does not serve {folder}; to see what it serves: NDIF_HOST={server.url} ")


def test_versions(model: ResidualModel, server: NdifServer, lines: list[str]) -> None:
    with api(server, NDIF_MIN_NNSIGHT_VERSION="99"):
        said = error(model, lines)
    assert said.startswith(f"{server.url} does not support the versions installed here: Client nnsight version 0.")
    assert "below the minimum supported 99" in said


def test_a_model_of_another_shape(server: NdifServer, lines: list[str], tmp_path: Path) -> None:
    """The client's configuration has a layer more than the server's model."""
    folder = models.save("gpt2", tmp_path)
    model = eap_plugin.load_model(str(folder), backend="nnsight", remote=server.url)
    eap_plugin.check(model)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"n_layer": 2', '"n_layer": 3'))
    other = eap_plugin.load_model(str(folder), backend="nnsight", remote=server.url)
    assert other.graph.n_layers == 3
    assert error(other, lines).startswith(f"{server.url} has {folder} with a different architecture; ")


def test_an_exception_in_the_run(model: ResidualModel, server: NdifServer, lines: list[str]) -> None:
    said = error(model, lines, metric=failing)
    assert re.fullmatch(
        rf"the run failed on {server.url}: RuntimeError: .+ \(in failing, .*tests/ndif/runs\.py:\d+\)", said
    )
    with pytest.raises(UsageError, match="metric 'kl' is at its optimum on the clean run"):
        eap_plugin.prune_scores(model, DATA, metric="kl")


def test_a_cancelled_job(model: ResidualModel, server: NdifServer, lines: list[str]) -> None:
    with slow_run(model, server) as errors:
        server.cancel(running(server))
    lines += [str(error) for error in errors]
    assert lines == [f"the job was cancelled on {server.url}; run it again"]


def test_a_connection_that_is_lost(model: ResidualModel, server: NdifServer, lines: list[str]) -> None:
    with slow_run(model, server) as errors:
        server.stop_api()
    server.start_api()
    lines += [str(error) for error in errors]
    assert len(lines) == 1 and lines[0].startswith(f"the connection to {server.url} was lost while waiting")


def test_a_time_out(model: ResidualModel, server: NdifServer, lines: list[str]) -> None:
    said = error(model, lines, metric=slow, timeout=1)
    assert said.startswith(f"{server.url} gave no result within 1 s; the job may still be running there")
