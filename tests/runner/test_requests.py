"""Runs in several requests: they add up, and finished ones are kept; here without a server."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result

import eap_plugin
from eap_plugin import Batch, PruneScores, UsageError
from eap_plugin.algorithm.gradient.eap import EAP
from eap_plugin.cli import main
from eap_plugin.cli.work import Work
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner.requests import split_requests
from tests.backend.nnsight.test_nnsight import difference
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

DATA = [Batch(*prompts(5, 7)), Batch(*prompts(3, 5, seed=1)), Batch(*prompts(1, 6, seed=2))]


@pytest.fixture(scope="module")
def model() -> ResidualModel:
    return eap_plugin.wrap_model(bridge(build("llama")))


def counting(model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets longer by one with each run."""
    runs: list[int] = []
    run = model.run
    monkeypatch.setattr(model, "run", lambda *args: (runs.append(1), run(*args))[1])
    return runs


@pytest.mark.parametrize(("most", "sizes"), [(2, [2, 2, 1, 2, 2]), (4, [4, 4, 1]), (9, [9]), (None, [9])])
def test_parts_are_as_few_as_go(most: int | None, sizes: list[int]) -> None:
    parts = split_requests(DATA, most, (), EAP())
    assert [sum(len(piece.batch) for piece in part) for part in parts] == sizes
    assert sum(piece.share for part in parts for piece in part) == pytest.approx(len(DATA))
    tokens = torch.cat([piece.batch.clean.flatten() for part in parts for piece in part])
    assert torch.equal(tokens, torch.cat([batch.clean.flatten() for batch in DATA]))


@pytest.mark.parametrize(
    "options", [{}, {"positions": True}, {"qkv": "summed"}, {"level": "node"}, {"ablation": "mean"}]
)
@pytest.mark.parametrize("most", [1, 2, 4])
def test_parts_add_up(most: int, options: dict[str, Any], model: ResidualModel) -> None:
    whole, parts = (
        eap_plugin.prune_scores(model, DATA, prompts_per_request=n, batch_size=3, **options) for n in (None, most)
    )
    assert parts.matrix.shape == whole.matrix.shape
    assert difference(parts.matrix, whole.matrix) <= 1e-6
    for metric in ("clean_metric", "corrupt_metric"):
        assert parts.metadata[metric] == pytest.approx(whole.metadata[metric], rel=1e-6)


def test_progress_goes_on_over_parts(model: ResidualModel) -> None:
    told: list[tuple[int, int]] = []
    eap_plugin.prune_scores(
        model, DATA, prompts_per_request=4, batch_size=2, progress=lambda done, total: told.append((done, total))
    )
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (9, 9) and {total for _, total in told} == {9}


def interrupted(model: ResidualModel, folder: Path, after: int, **how: Any) -> None:
    """Run until some parts are finished, then interrupt."""
    done: list[int] = []

    def stop(n: int, total: int) -> None:
        done.append(n)
        if len(done) == after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eap_plugin.prune_scores(model, DATA, prompts_per_request=2, parts=folder, progress=stop, **how)


def test_a_run_goes_on_with_its_own_parts(
    model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    how: dict[str, Any] = {"prompts_per_request": 2, "parts": tmp_path / "parts"}
    whole = eap_plugin.prune_scores(model, DATA, prompts_per_request=2)
    interrupted(model, tmp_path / "parts", 4)
    kept = len(list((tmp_path / "parts").iterdir()))
    assert kept == 3
    runs = counting(model, monkeypatch)
    scores = eap_plugin.prune_scores(model, DATA, resume=True, **how)
    assert len(runs) == len(split_requests(DATA, 2, (), EAP())) - kept
    assert scores == whole
    assert scores.metadata["clean_metric"] == whole.metadata["clean_metric"]
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"metric": "prob_diff"}, r"metric \('logit_diff', now 'prob_diff'\), metric unit"),
        ({"qkv": "summed"}, r"differ in: qkv \('separate', now 'summed'\);"),
        ({"batch_size": 1}, r"differ in: batch size \("),
        ({"metric": lambda logits, batch: logits[:, 5]}, "metric"),
        ({"prompts_per_request": 3}, r"differ in: prompts per request \(2, now 3\); to start afresh, leave out resume"),
    ],
)
def test_parts_of_another_run_are_not_taken(
    other: dict[str, Any], says: str, model: ResidualModel, tmp_path: Path
) -> None:
    interrupted(model, tmp_path, 4)
    before = sorted(tmp_path.iterdir())
    how = {"prompts_per_request": 2, **other}
    with pytest.raises(UsageError, match=f"no finished part of this run in .*; those here .*{says}"):
        eap_plugin.prune_scores(model, DATA, parts=tmp_path, resume=True, **how)
    assert sorted(tmp_path.iterdir()) == before


def test_other_prompts_of_a_task_differ_in_their_seed(tmp_path: Path) -> None:
    shipped = eap_plugin.load_model("ioi-gpt2")
    how: dict[str, Any] = {"prompts_per_request": 2, "parts": tmp_path}

    def stop(done: int, total: int) -> None:
        if done > 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        eap_plugin.prune_scores(shipped, eap_plugin.load_task("ioi", shipped, n_prompts=6), progress=stop, **how)
    with pytest.raises(UsageError, match=r"those here differ in: seed \(0, now 1\); to start afresh"):
        eap_plugin.prune_scores(shipped, eap_plugin.load_task("ioi", shipped, n_prompts=6, seed=1), resume=True, **how)


def test_changed_code_of_algorithm_or_metric_is_another_run(
    model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(model, tmp_path, 4, metric=lambda logits, batch: logits[:, 3])
    with pytest.raises(UsageError, match="those here differ in: metric code;"):
        eap_plugin.prune_scores(
            model, DATA, parts=tmp_path, resume=True, prompts_per_request=2, metric=lambda logits, batch: logits[:, 4]
        )
    whole = inspect.getsource

    def edited(thing: Any) -> str:
        return whole(thing) + "# edited" * (getattr(thing, "__name__", "") == EAP.__module__)

    parts = tmp_path / "parts"
    interrupted(model, parts, 4)
    monkeypatch.setattr(inspect, "getsource", edited)
    with pytest.raises(UsageError, match="those here differ in: algorithm code;"):
        eap_plugin.prune_scores(model, DATA, parts=parts, resume=True, prompts_per_request=2)


@pytest.mark.parametrize("damage", [slice(0), slice(9), slice(-5), slice(1, None)])
def test_a_damaged_part_is_done_again(
    damage: slice, model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = tmp_path / "parts"
    whole = eap_plugin.prune_scores(model, DATA, prompts_per_request=2)
    interrupted(model, parts, 4)
    part = sorted(parts.iterdir())[1]
    part.write_bytes(part.read_bytes()[damage])
    runs = counting(model, monkeypatch)
    assert eap_plugin.prune_scores(model, DATA, parts=parts, resume=True, prompts_per_request=2) == whole
    assert len(runs) == len(split_requests(DATA, 2, (), EAP())) - 2
    assert not parts.exists()


def test_without_resume_a_run_begins_anew(
    model: ResidualModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(model, tmp_path, 4)
    runs = counting(model, monkeypatch)
    eap_plugin.prune_scores(model, DATA, prompts_per_request=2, parts=tmp_path)
    assert len(runs) == len(split_requests(DATA, 2, (), EAP()))


def test_what_does_not_add_up_is_not_split(model: ResidualModel) -> None:
    with pytest.raises(UsageError, match=r"scores of random on parts of the prompts do not add up .* run it without"):
        eap_plugin.prune_scores(model, DATA, algorithm="random", prompts_per_request=2)
    eap_plugin.prune_scores(model, DATA, algorithm="random", prompts_per_request=9)
    with pytest.raises(UsageError, match="prompts_per_request must be at least 1, got 0"):
        eap_plugin.prune_scores(model, DATA, prompts_per_request=0)


def eap(*args: str) -> Result:
    return CliRunner().invoke(main, ["run", "ioi-llama", "--task", "ioi", "-n", "8", *args])


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved, split_up = tmp_path / "scores.safetensors", ("--prompts-per-request", "3")
    assert eap("-o", str(saved), *split_up).exit_code == 0
    whole = PruneScores.load(saved)
    saved.unlink()
    with monkeypatch.context() as patched:

        def stop(self: Work, done: int, total: int) -> None:
            if done > 3:
                raise KeyboardInterrupt

        patched.setattr(Work, "advance", stop)
        broken = eap("-o", str(saved), *split_up)
    assert broken.exit_code == 130
    said = " ".join(broken.stderr.split())
    assert (
        "1 finished part is kept in" in said and "scores.safetensors.parts; run the same command with --resume" in said
    )
    assert eap("-o", str(saved), *split_up, "--resume").exit_code == 0
    assert PruneScores.load(saved) == whole
    assert list(tmp_path.iterdir()) == [saved]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--prompts-per-request", "3"), "--prompts-per-request saves finished parts next to the scores; add -o"),
        (("--resume",), "--resume continues a run that --prompts-per-request split; add --prompts-per-request"),
        (("--timeout", "3"), "a timeout applies only to runs on a server"),
        (("--remote",), "the backend transformer_lens cannot run on a server; use the backend nnsight"),
        (("--remote", "localhost", "--backend", "nnsight"), "a server's address has the form http://host:port"),
    ],
)
def test_wrong_requests(args: tuple[str, ...], said: str) -> None:
    result = eap(*args)
    assert result.exit_code == 2
    assert f"Error: {said}" in " ".join(result.stderr.split())
