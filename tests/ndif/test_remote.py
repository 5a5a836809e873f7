"""Runs on a server give the numbers of this process, in one small request each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from nnsight.modeling.transformers import TransformersModel

import eap_plugin
from eap_plugin import Batch, EapPluginError
from eap_plugin.model.residual_model import ResidualModel
from tests.backend.nnsight.test_nnsight import difference
from tests.ndif import models
from tests.ndif.runs import DATA, idle, running, slow_run
from tests.ndif.server import NdifServer
from tests.support import client_only
from tests.support.bridges import bridge
from tests.support.quick import QUICK
from tests.support.zoo import build, prompts

BYTES_PER_REQUEST = 100_000


@pytest.fixture(params=models.NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def there(server: NdifServer, model_folders: dict[str, Path], name: str) -> TransformersModel:
    return models.without_weights(model_folders[name])


@pytest.fixture
def gpt2(server: NdifServer, model_folders: dict[str, Path]) -> ResidualModel:
    return eap_plugin.load_model(str(model_folders["gpt2"]), backend="nnsight", remote=server.url)


@pytest.mark.parametrize("algorithm", list(eap_plugin.algorithms()))
def test_every_algorithm(
    algorithm: str, name: str, server: NdifServer, there: TransformersModel, model_folders: dict[str, Path]
) -> None:
    here, options = models.with_weights(model_folders[name]), QUICK.get(algorithm, {})
    ours = eap_plugin.prune_scores(here, DATA, algorithm=algorithm, **options)
    theirs = eap_plugin.prune_scores(there, DATA, algorithm=algorithm, remote=server.url, **options)
    assert not there.dispatched
    assert ours.matrix.abs().max() > 0
    assert difference(theirs.matrix, ours.matrix) <= 1e-6
    for metric in ("clean_metric", "corrupt_metric"):
        assert theirs.metadata[metric] == pytest.approx(ours.metadata[metric], rel=1e-6)


def test_four_ways_to_run_eap(
    name: str,
    server: NdifServer,
    there: TransformersModel,
    model_folders: dict[str, Path],
    record_property: pytest.RecordProperty,
) -> None:
    here = models.with_weights(model_folders[name])
    expected = eap_plugin.prune_scores(bridge(build(name)), DATA).matrix
    ways = {"nnsight": (here, False), "simulated server": (here, "local"), "NDIF server": (there, server.url)}
    for way, (model, remote) in ways.items():
        error = difference(eap_plugin.prune_scores(model, DATA, remote=remote).matrix, expected)
        record_property(f"differs {way}", f"{error:.1e}")
        assert error <= 5e-6


def test_a_models_weights_stay_frozen_and_its_flags_as_they_are(gpt2: ResidualModel, server: NdifServer) -> None:
    def flags() -> list[bool]:
        envoy: Any = gpt2.envoy  # type: ignore[attr-defined]
        with envoy.session(remote=server.url):
            found = [*(p.requires_grad for p in envoy._module.parameters()), envoy._module.training].save()
        return found

    before = flags()
    assert not any(before)
    eap_plugin.prune_scores(gpt2, DATA)
    with pytest.raises(EapPluginError):
        eap_plugin.prune_scores(gpt2, DATA, metric=lambda logits, batch: logits.no_such)
    assert flags() == before


def test_functions_circuits_and_check(gpt2: ResidualModel, model_folders: dict[str, Path]) -> None:
    here, weight = eap_plugin.wrap_model(models.with_weights(model_folders["gpt2"])), 2.0
    judge = lambda logits, batch: weight * logits.gather(1, batch.answers)[:, 0]  # noqa: E731
    scores = eap_plugin.prune_scores(gpt2, DATA, metric=judge)
    assert difference(scores.matrix, eap_plugin.prune_scores(here, DATA, metric=judge).matrix) <= 1e-6
    found = [eap_plugin.evaluate(model, DATA, scores, sizes=[0.3, 0.8]) for model in (here, gpt2)]
    ours, theirs = ([point.mean for point in evaluation.points] for evaluation in found)
    assert theirs == pytest.approx(ours, rel=1e-6)
    assert eap_plugin.check(gpt2).rows == eap_plugin.check(here).rows


def test_a_package_that_only_this_side_has(
    gpt2: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with client_only.installed(tmp_path, monkeypatch):
        scores = eap_plugin.prune_scores(gpt2, DATA, algorithm="twice", factor=3)
    torch.testing.assert_close(scores.matrix, 6 * eap_plugin.prune_scores(gpt2, DATA).matrix)


def test_code_that_cannot_travel_is_not_sent(
    gpt2: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    *change, said = client_only.BAD["a cache"]
    with client_only.installed(tmp_path, monkeypatch, tuple(change)), pytest.raises(EapPluginError, match=said):
        eap_plugin.prune_scores(gpt2, DATA, algorithm="twice", status=told.append)
    assert not told


def test_sizes(gpt2: ResidualModel) -> None:
    few, many = (eap_plugin.prune_scores(gpt2, Batch(*prompts(n, 12))).metadata["remote"] for n in (1, 100))
    tokens = 8 * 100 * (2 * 12 + 2)
    assert many["bytes_sent"] <= BYTES_PER_REQUEST + tokens
    assert many["requests"] == few["requests"] == 1
    assert abs(many["bytes_received"] - few["bytes_received"]) < 0.2 * few["bytes_received"] < 2000


def test_news_of_a_run(gpt2: ResidualModel, server: NdifServer, record_property: pytest.RecordProperty) -> None:
    told: list[str] = []
    scores = eap_plugin.prune_scores(gpt2, DATA, status=told.append)
    words = [line.split(":")[0].split(" ")[0] for line in told]
    assert words[0] == "sending" and words[-1] == "received" and {"queued", "running", "completed"} <= set(words)
    remote = scores.metadata["remote"]
    assert remote["host"] == server.url
    assert told[0] == f"sending {remote['bytes_sent'] / 1000:.1f} kB"
    assert 0 < remote["seconds"] < 30
    record_property("log of a run", "\n".join([*told, f"{remote}"]))


def test_after_an_error_and_after_a_cancelled_job(gpt2: ResidualModel, server: NdifServer) -> None:
    expected = eap_plugin.prune_scores(gpt2, DATA)
    with pytest.raises(EapPluginError):
        eap_plugin.prune_scores(gpt2, DATA, metric=lambda logits, batch: logits.no_such)
    assert eap_plugin.prune_scores(gpt2, DATA) == expected
    for _ in range(3):
        with slow_run(gpt2, server):
            server.cancel(running(server))
        idle(server)
        assert eap_plugin.prune_scores(gpt2, DATA) == expected
