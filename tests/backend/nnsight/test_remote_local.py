"""Runs as a server would do them, simulated in this process: the same numbers, and code that cannot travel."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch
from nnsight.intervention.backends.remote import RemoteError
from torch import Tensor

import eap_plugin
from eap_plugin import Batch, EapPluginError, UsageError
from eap_plugin.backend.nnsight.remote.model import RemoteModel
from tests.backend.nnsight.test_nnsight import MASKS, difference
from tests.backend.nnsight.test_objects import snapshot
from tests.ndif import models
from tests.support import client_only
from tests.support.bridges import bridge
from tests.support.quick import QUICK
from tests.support.zoo import ARCHITECTURES, build, prompts

pytestmark = pytest.mark.exhaustive

DATA = [Batch(*prompts(4, 7)), Batch(*prompts(3, 5, seed=1))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return models.with_weights(models.save("llama", tmp_path_factory.mktemp("models")))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_eap_is_that_of_the_other_backends(name: str, tmp_path: Path, record_property: pytest.RecordProperty) -> None:
    model = models.with_weights(models.save(name, tmp_path))
    theirs, here, there = (
        eap_plugin.prune_scores(bridge(build(name)), DATA),
        eap_plugin.prune_scores(model, DATA),
        eap_plugin.prune_scores(model, DATA, remote="local"),
    )
    assert there == here
    record_property("differs simulated server", f"{difference(there.matrix, theirs.matrix):.1e}")
    assert difference(there.matrix, theirs.matrix) <= 5e-6


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("algorithm", list(eap_plugin.algorithms()))
def test_every_algorithm(algorithm: str, name: str, tmp_path: Path) -> None:
    model = models.with_weights(models.save(name, tmp_path))
    options = QUICK.get(algorithm, {})
    here = eap_plugin.prune_scores(model, DATA, algorithm=algorithm, **options)
    there = eap_plugin.prune_scores(model, DATA, algorithm=algorithm, remote="local", **options)
    assert here.matrix.abs().max() > 0
    assert difference(there.matrix, here.matrix) <= 1e-6
    for metric in ("clean_metric", "corrupt_metric"):
        assert there.metadata[metric] == pytest.approx(here.metadata[metric], rel=1e-6)


@pytest.mark.parametrize("algorithm", ["eap", "gim", "exact", "edge-pruning"])
@pytest.mark.parametrize("name", models.NAMES)
def test_a_model_without_a_name(name: str, algorithm: str) -> None:
    """The simulation runs the model that it is given, so that no name is needed."""
    model = nnsight.NNsight(build(name))
    before = snapshot(model._module)
    here, there = (
        eap_plugin.prune_scores(model, DATA, algorithm=algorithm, remote=where, **QUICK.get(algorithm, {}))
        for where in (False, "local")
    )
    assert here.matrix.abs().max() > 0
    assert difference(there.matrix, here.matrix) <= 1e-6
    assert there.metadata["remote"]["requests"] == 1
    assert eap_plugin.check(model, remote="local") == eap_plugin.check(model)
    assert snapshot(model._module) == before


@pytest.mark.parametrize("metric", list(eap_plugin.metrics()))
def test_every_metric(metric: str, model: Any) -> None:
    about = [eap_plugin.prune_scores(model, DATA, algorithm="random", metric=metric, remote=where).metadata
             for where in (False, "local")]  # fmt: skip
    for which in ("clean_metric", "corrupt_metric"):
        assert about[0][which] == about[1][which]


@pytest.mark.parametrize(
    "options", [{"positions": True}, {"qkv": "summed"}, {"dtype": "float64"}, {"answer_diff": False}]
)
def test_options(options: dict[str, Any], model: Any) -> None:
    here, there = (eap_plugin.prune_scores(model, DATA, remote=where, **options) for where in (False, "local"))
    assert here == there


def test_padding_and_pieces(model: Any) -> None:
    batch = Batch(*prompts(3, 6), attention_mask=torch.tensor(MASKS["left"]).bool())
    here, there = (eap_plugin.prune_scores(model, batch, batch_size=2, remote=where) for where in (False, "local"))
    assert here == there


def test_a_function_as_metric(model: Any) -> None:
    weight = 3.0

    def thrice(logits: Tensor, batch: Batch) -> Tensor:
        return weight * logits.gather(1, batch.answers)[:, 0]

    plain = eap_plugin.prune_scores(model, DATA, metric="answer_logit")
    for metric in (thrice, lambda logits, batch: weight * logits.gather(1, batch.answers)[:, 0]):
        scores = eap_plugin.prune_scores(model, DATA, metric=metric, remote="local")
        assert difference(scores.matrix, 3 * plain.matrix) <= 1e-6


def test_circuits_and_check(model: Any) -> None:
    scores = eap_plugin.prune_scores(model, DATA)
    here, there = (
        eap_plugin.wrap_model(model),
        eap_plugin.load_model(model.repo_id, backend="nnsight", remote="local"),
    )
    for how in ({"random": 2}, {"ablation": "mean", "complement": True}, {"metric": "kl", "batch_size": 2}):
        ours, theirs = (eap_plugin.evaluate(each, DATA, scores, sizes=[0.1, 0.8], **how) for each in (here, there))
        assert theirs.table() == ours.table()
        assert [point.metric.tolist() for point in theirs.points] == [point.metric.tolist() for point in ours.points]
    assert eap_plugin.check(model) == eap_plugin.check(model, remote="local")


def test_the_model_is_left_as_it_was(model: Any) -> None:
    model._module.train()
    next(model._module.parameters()).requires_grad_(True)
    before = snapshot(model._module)

    def fail(logits: Tensor, batch: Batch) -> Tensor:
        raise ValueError("stop")

    eap_plugin.prune_scores(model, DATA, remote="local")
    assert snapshot(model._module) == before
    with pytest.raises(EapPluginError, match=r"the run failed on local: ValueError: stop"):
        eap_plugin.prune_scores(model, DATA, remote="local", metric=fail)
    assert snapshot(model._module) == before


def test_this_process_is_left_as_it_was(model: Any) -> None:
    from eap_plugin.algorithm.gradient.eap import EAP

    before = dict(vars(EAP))
    eap_plugin.prune_scores(model, DATA, remote="local")
    assert dict(vars(EAP)) == before


def test_what_a_run_says_of_itself(model: Any) -> None:
    scores = eap_plugin.prune_scores(model, DATA, remote="local")
    remote = scores.metadata["remote"]
    assert (remote["host"], remote["requests"]) == ("local", 1)
    assert 10_000 < remote["bytes_sent"] < 100_000
    assert 100 < remote["bytes_received"] < 10_000
    assert "remote" not in eap_plugin.prune_scores(model, DATA).metadata


def test_errors_of_the_program_are_those_of_this_process(model: Any) -> None:
    for remote in (False, "local"):
        with pytest.raises(UsageError, match="metric 'kl' is at its optimum on the clean run"):
            eap_plugin.prune_scores(model, DATA, metric="kl", remote=remote)


@pytest.mark.parametrize(
    ("said", "requests"),
    [
        ("ValueError: parent cannot be on a different thread", 2),
        ("WithBlockNotFoundError: nnsight has no source for [forward:70] model.py, so it cannot read the body", 2),
        ("RuntimeError: something else", 1),
    ],
)
def test_what_a_server_has_left_of_the_job_before_is_met_once(
    said: str, requests: int, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    request = RemoteModel._request

    def fails_first(self: RemoteModel, work: Any) -> Any:
        sent.append(1)
        if len(sent) == 1:
            raise RemoteError(said)
        return request(self, work)

    monkeypatch.setattr(RemoteModel, "_request", fails_first)
    if requests == 1:
        with pytest.raises(EapPluginError, match="something else"):
            eap_plugin.prune_scores(model, DATA, remote="local")
    else:
        assert eap_plugin.prune_scores(model, DATA, remote="local") == eap_plugin.prune_scores(model, DATA)
    assert len(sent) == requests


def test_a_package_that_only_this_side_has(model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with client_only.installed(tmp_path, monkeypatch):
        scores = eap_plugin.prune_scores(model, DATA, algorithm="twice", factor=3, remote="local")
    expected = 6 * eap_plugin.prune_scores(model, DATA).matrix
    torch.testing.assert_close(scores.matrix, expected)


@pytest.mark.parametrize("kind", client_only.BAD)
def test_code_that_cannot_travel(kind: str, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    *change, said = client_only.BAD[kind]
    sent: list[str] = []
    with client_only.installed(tmp_path, monkeypatch, tuple(change)):
        eap_plugin.prune_scores(model, DATA, algorithm="twice")  # it works here
        with pytest.raises(EapPluginError, match=f"^this run cannot be sent to a server: {said}") as caught:
            eap_plugin.prune_scores(model, DATA, algorithm="twice", remote="local", status=sent.append)
    assert "\n" not in str(caught.value) and not sent


def test_a_metric_that_cannot_travel(model: Any) -> None:
    lock = threading.Lock()

    def guarded(logits: Tensor, batch: Batch) -> Tensor:
        with lock:
            return logits.gather(1, batch.answers)[:, 0]

    with pytest.raises(EapPluginError, match=r"guarded uses lock, a lock, which cannot be sent"):
        eap_plugin.prune_scores(model, DATA, metric=guarded, remote="local")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"remote": "gpt2"}, "a server's address has the form http://host:port, got 'gpt2'"),
        ({"remote": "local", "timeout": 0}, "timeout must be a positive number of seconds, got 0"),
        ({"timeout": 3}, "a timeout applies only to runs on a server; add remote=, or leave it out"),
    ],
)
def test_wrong_requests(how: dict[str, Any], said: str, model: Any) -> None:
    with pytest.raises(UsageError, match=said):
        eap_plugin.prune_scores(model, DATA, **how)


def test_models_that_a_server_cannot_know() -> None:
    with pytest.raises(
        UsageError, match="a server finds models by name, but NNsight wraps one without a name; use nnsight.Tr"
    ):
        eap_plugin.prune_scores(nnsight.NNsight(build("gpt2")), DATA, remote=True)
    with pytest.raises(
        UsageError, match="the backend transformer_lens cannot run on a server; use the backend nnsight"
    ):
        eap_plugin.prune_scores(bridge(build("gpt2")), DATA, remote="local")
    with pytest.raises(
        UsageError, match="a model on a server has the server's device and dtype; leave device= and dtype= out"
    ):
        eap_plugin.load_model("ioi-gpt2", backend="nnsight", remote=True, dtype="bfloat16")


def test_an_address_keeps_its_secrets(model: Any) -> None:
    from eap_plugin.model.remote import Remote

    remote = Remote("https://user:secret@ndif.example:8443/api?key=secret")
    assert remote.host == "https://ndif.example:8443"
    assert "secret" not in str(remote.record())


def test_files_of_this_machine_are_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="checkpoint is a file on this machine, but the model runs on a server"):
        eap_plugin.prune_scores(
            model, DATA, algorithm="edge-pruning", checkpoint=str(tmp_path / "training"), remote="local"
        )
