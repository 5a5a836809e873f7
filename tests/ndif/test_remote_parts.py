"""Long runs in several requests: what is finished is kept, and gives the same bits when it is gone on with."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file

import eap_plugin
from eap_plugin import EapPluginError, PruneScores
from eap_plugin.cli import main
from tests.ndif.runs import DATA, WITHIN
from tests.ndif.server import NdifServer

N_PARTS = 8


def args(server: NdifServer, saved: Path, *more: str) -> list[str]:
    remote = ["--backend", "nnsight", "--remote", server.url]
    return ["run", "ioi-gpt2", *remote, "--task", "ioi", "--prompts-per-request", "8", "-o", str(saved), *more]


def test_a_killed_client_goes_on(server: NdifServer, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.safetensors", tmp_path / "broken.safetensors"
    assert CliRunner().invoke(main, args(server, whole)).exit_code == 0
    assert PruneScores.load(whole).metadata["remote"]["requests"] == N_PARTS

    parts, deadline = tmp_path / "broken.safetensors.parts", time.monotonic() + WITHIN
    client = subprocess.Popen([sys.executable, "-m", "eap_plugin", *args(server, broken)], stdout=subprocess.DEVNULL)
    while len(list(parts.glob("*.safetensors"))) < 2:
        assert client.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    client.kill()
    client.wait()
    assert not broken.exists()

    assert CliRunner().invoke(main, args(server, broken, "--resume")).exit_code == 0
    scores = PruneScores.load(broken)
    assert 1 <= scores.metadata["remote"]["requests"] <= N_PARTS - 2
    assert load_file(broken)["matrix"].equal(load_file(whole)["matrix"])
    for metric in ("clean_metric", "corrupt_metric"):
        assert scores.metadata[metric] == PruneScores.load(whole).metadata[metric]
    assert not parts.exists()


def test_a_server_that_goes_away_loses_nothing(
    server: NdifServer, model_folders: dict[str, Path], tmp_path: Path
) -> None:
    model = eap_plugin.load_model(str(model_folders["gpt2"]), backend="nnsight", remote=server.url)
    how = {"prompts_per_request": 3, "parts": tmp_path / "parts"}
    whole = eap_plugin.prune_scores(model, DATA, prompts_per_request=3)
    assert whole.metadata["remote"]["requests"] == 5
    done: list[int] = []

    def stop(n: int, total: int) -> None:
        done.append(n)
        if len(done) == 2:
            server.stop_api()

    try:
        with pytest.raises(EapPluginError, match="cannot reach"):
            eap_plugin.prune_scores(model, DATA, progress=stop, **how)
    finally:
        server.start_api()
    scores = eap_plugin.prune_scores(model, DATA, resume=True, **how)
    assert scores == whole
    assert scores.metadata["remote"]["requests"] == 3
