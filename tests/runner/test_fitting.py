"""Microbatches that fit in memory: chosen by the memory that is free, halved when it runs out, what was done kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

import eap_plugin
from eap_plugin import Batch, UsageError
from eap_plugin.api.batch_size import parse_bytes
from eap_plugin.cli import main
from eap_plugin.data.microbatches import microbatches
from eap_plugin.data.prompts import Prompts
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.runner import free_memory as memory
from eap_plugin.runner.batch_size import FittingSize, balanced, fitting_size, measured_memory, memory_bound
from tests.backend.nnsight.test_nnsight import difference
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

DATA = [Batch(*prompts(7, 6)), Batch(*prompts(12, 5, seed=1))]
LOGIT_DIFF = eap_plugin.metrics()["logit_diff"]
GIB = 2**30


@pytest.fixture(scope="module")
def model() -> ResidualModel:
    return eap_plugin.wrap_model(bridge(build("llama")))


@pytest.fixture
def sizes(model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list to which every pass of the model adds its number of prompts."""
    seen: list[int] = []
    limited(model, monkeypatch, seen, most=None)
    return seen


def limited(model: ResidualModel, monkeypatch: pytest.MonkeyPatch, seen: list[int], most: int | None) -> None:
    """Let memory run out in passes of more than ``most`` prompts."""
    forward = type(model)._forward

    def counting(self: ResidualModel, run: Prompts, *args: Any) -> torch.Tensor:
        seen.append(len(run))
        if most is not None and len(run) > most:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")
        return forward(self, run, *args)

    monkeypatch.setattr(type(model), "_forward", counting)


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"positions": True, "groups": 3},
        {"ablation": "mean"},
        {"metric": "kl", "algorithm": "eap-ig-inputs", "steps": 2},
        {"algorithm": "activation-magnitude"},
    ],
    ids=str,
)
def test_scores_are_the_same_when_memory_runs_out(
    how: dict[str, Any], model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = eap_plugin.prune_scores(model, DATA, batch_size=3, **how)
    seen: list[int] = []
    limited(model, monkeypatch, seen, most=3)
    told: list[tuple[int, int]] = []
    scores = eap_plugin.prune_scores(model, DATA, progress=lambda *done: told.append(done), **how)
    assert max(seen) > 3
    assert difference(scores.matrix, expected.matrix) <= 1e-6
    if expected.groups is not None:
        assert scores.groups is not None and difference(scores.groups, expected.groups) <= 1e-6
    for name in ("clean_metric", "corrupt_metric"):
        assert scores.metadata[name] == pytest.approx(expected.metadata[name], rel=1e-5)
    assert told[-1] == (19, 19)


@pytest.mark.parametrize("ablation", ["corrupt", "mean"])
def test_evaluations_are_the_same_when_memory_runs_out(
    ablation: Any, model: ResidualModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = eap_plugin.prune_scores(model, DATA)
    how: dict[str, Any] = {"sizes": [10, 0.5], "ablation": ablation}
    expected = eap_plugin.evaluate(model, DATA, scores, batch_size=3, **how)
    seen: list[int] = []
    limited(model, monkeypatch, seen, most=3)
    told: list[tuple[int, int]] = []
    found = eap_plugin.evaluate(model, DATA, scores, progress=lambda *done: told.append(done), **how)
    assert max(seen) > 3
    for mine, theirs in zip(found.points, expected.points, strict=True):
        torch.testing.assert_close(mine.metric, theirs.metric, rtol=0, atol=1e-5)
    n_distinct = len({point.metric.sum().item() for point in found.points})
    assert told[-1] == (19 * n_distinct, 19 * n_distinct)


def test_what_was_done_is_kept(model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    limit = 12 * int(per_prompt(model))  # half of it is for activations
    limited(model, monkeypatch, seen, most=3)
    eap_plugin.prune_scores(model, DATA, max_memory=limit)
    measured, failed, passes = seen[0], seen[1], seen[2:]
    assert (measured, failed) == (1, 6)
    assert passes == [3] * 4 + [1] * 2 + [3] * 8


def test_one_prompt_that_does_not_fit_is_an_error(model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(model, monkeypatch, [], most=0)
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        eap_plugin.prune_scores(model, DATA)


def test_a_small_run_is_one_microbatch(model: ResidualModel, sizes: list[int]) -> None:
    eap_plugin.prune_scores(model, Batch(*prompts(64, 15)), share_prefix=False)
    assert sizes == [64, 64]


def test_a_limit_splits_batches_evenly(model: ResidualModel, sizes: list[int]) -> None:
    limited_to = 2 * 5 * int(per_prompt(model))  # half of what is free is for activations
    eap_plugin.prune_scores(model, DATA, max_memory=limited_to)
    assert [size for size in sizes if size > 1] == [4, 4, 3, 3, 4, 4, 4, 4, 4, 4]


def test_microbatches_are_chosen_by_free_memory(model: ResidualModel, monkeypatch: pytest.MonkeyPatch) -> None:
    data = microbatches([Batch(*prompts(65, 6))], None)
    with model.frozen():
        sizes = []
        for free in (2**40, 20 * int(per_prompt(model)), 1):
            monkeypatch.setattr("eap_plugin.runner.batch_size.free_memory", lambda device, free=free: free)
            sizes.append(fitting_size(model, data, LOGIT_DIFF, FittingSize()))
    assert sizes == [65, 10, 1]


@pytest.mark.parametrize("name", ["gpt2", "llama", "gpt_neox", "gemma2", "mixtral"])
def test_the_bound_is_above_what_is_measured(name: str) -> None:
    model = eap_plugin.wrap_model(bridge(build(name)))
    batch = Batch(*prompts(1, 8))
    with model.frozen():
        measured = measured_memory(model, batch, LOGIT_DIFF)
    assert measured / 8 < memory_bound(model, batch)
    assert memory_bound(model, batch) > measured


def test_balanced() -> None:
    assert [balanced(n, 6) for n in (1, 6, 7, 12, 13)] == [1, 6, 4, 6, 5]


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


MEMINFO = {"proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemAvailable:    {8 * 2**20} kB\n"}
V2 = "sys/fs/cgroup/"
V1 = "sys/fs/cgroup/memory/"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 8 * GIB),
        ({"proc/self/cgroup": "0::/\n"}, 8 * GIB),
        (  # version 2: the group above has the tighter limit; cached files count as free
            {
                "proc/self/cgroup": "0::/a/b\n",
                V2 + "a/b/memory.max": "max\n",
                V2 + "a/b/memory.current": f"{GIB}\n",
                V2 + "a/memory.max": f"{4 * GIB}\n",
                V2 + "a/memory.current": f"{3 * GIB}\n",
                V2 + "a/memory.stat": f"anon 1\ninactive_file {GIB // 2}\n",
            },
            3 * GIB // 2,
        ),
        (  # in a container, whose own group is at the top
            {"proc/self/cgroup": "0::/x/y\n", V2 + "memory.max": f"{2 * GIB}", V2 + "memory.current": f"{GIB}"},
            GIB,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/c\n4:hugetlb,memory:/c\n0::/\n",
                V1 + "c/memory.limit_in_bytes": f"{6 * GIB}",
                V1 + "c/memory.usage_in_bytes": f"{GIB}",
                V1 + "c/memory.stat": f"inactive_file 7\ntotal_inactive_file {GIB}",
                V1 + "memory.limit_in_bytes": "9223372036854771712",
                V1 + "memory.usage_in_bytes": f"{7 * GIB}",
            },
            6 * GIB,
        ),
    ],
    ids=["no groups", "no limit", "version 2", "container", "version 1"],
)
def test_free_memory(files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MEMINFO | files)
    monkeypatch.setattr(memory, "_ROOT", tmp_path)
    assert memory.free_memory(torch.device("cpu")) == expected


def test_free_memory_without_the_kernels_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_ROOT", tmp_path)
    assert memory.free_memory(torch.device("cpu")) > 2**26


@pytest.mark.parametrize(
    ("text", "expected"),
    [(1000, 1000), ("4GB", 4 * 10**9), ("1.5 GiB", 3 * 2**29), ("20m", 20 * 10**6), ("1e9", 10**9), ("7B", 7)],
)
def test_sizes_of_memory(text: int | str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "0", "four", "1.2.3G"])
def test_wrong_sizes_of_memory(text: str) -> None:
    with pytest.raises(UsageError, match="a size of memory is a number of bytes, or text such as 4GB or 500MiB; got"):
        parse_bytes(text)


def test_wrong_batch_sizes(model: ResidualModel) -> None:
    with pytest.raises(UsageError, match="max_memory chooses the batch size, so give one of them only"):
        eap_plugin.prune_scores(model, DATA, batch_size=2, max_memory="1GB")
    with pytest.raises(UsageError, match="batch_size must be a number of prompt pairs, \"auto\" or None, got 'all'"):
        eap_plugin.prune_scores(model, DATA, batch_size="all")


def test_the_command_line_limits_memory() -> None:
    run = ["run", "ioi-llama", "--task", "ioi", "-n", "8", "--json", "--max-memory"]
    assert CliRunner().invoke(main, [*run, "4GB"]).exit_code == 0
    wrong = CliRunner().invoke(main, [*run, "much"])
    assert wrong.exit_code == 2 and "Error: a size of memory is" in wrong.stderr


def per_prompt(model: ResidualModel) -> float:
    """Return the bytes that one of the longest prompts needs."""
    with model.frozen():
        return measured_memory(model, DATA[0], LOGIT_DIFF)
