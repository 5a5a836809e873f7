"""Runs in several processes: the same bits on any number of them, and one line when one fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin import Batch, Evaluation, PruneScores, UsageError
from eap_plugin.runner.requests import prompts_per_part
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

pytestmark = pytest.mark.exhaustive

BOTH = """
import sys
from eap_plugin.cli import main
from eap_plugin.runner.ranks import Ranks

alone, results, *run = sys.argv[1:]
leave, Ranks.leave = Ranks.leave, lambda self: None
main([*run, "-o", results + "/scores.safetensors"], standalone_mode=False)
Ranks.leave = leave
main(["evaluate", alone, "--sizes", "20,0.3", "--random", "2", "-o", results + "/eval.json"])
"""
"""A scoring run and an evaluation in the same processes, as starting them takes longest."""

RUN = ["run", "ioi-llama", "--task", "ioi", "--prompts", "20", "--groups", "2"]
STOPPING = """
import os, signal, sys
import eap_plugin.runner.requests as requests
from eap_plugin.cli import main

def failing(run, part, counter):
    if os.environ["RANK"] == "1":
        {what}
    return run_part(run, part, counter)

run_part, requests._run_part = requests._run_part, failing
main(sys.argv[1:])
"""


def torchrun(n: int, *program: str) -> subprocess.CompletedProcess[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launcher, *program], capture_output=True, text=True, timeout=240, check=False, env=environment
    )


def test_ranks_give_the_bits_of_one(tmp_path: Path) -> None:
    model = eap_plugin.load_model("ioi-llama")
    task = eap_plugin.load_task("ioi", model, n_prompts=20)
    alone = eap_plugin.prune_scores(model, task, groups=2, distributed=True)
    alone.save(tmp_path / "alone.safetensors")
    program, results = tmp_path / "both.py", tmp_path / "results"
    program.write_text(BOTH)
    results.mkdir()
    done = torchrun(2, str(program), str(tmp_path / "alone.safetensors"), str(results), *RUN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("eap on ioi-llama") == 1
    assert done.stdout.count("logit_diff of ioi-llama on 20 prompt pairs") == 1
    assert sorted(path.name for path in results.iterdir()) == ["eval.json", "scores.safetensors"]
    scores = PruneScores.load(results / "scores.safetensors")
    assert (scores.metadata["ranks"], alone.metadata["ranks"]) == (2, 1)
    assert torch.equal(scores.matrix, alone.matrix)
    assert scores.groups is not None and alone.groups is not None and torch.equal(scores.groups, alone.groups)
    assert scores.metadata["clean_metric"] == alone.metadata["clean_metric"]
    found = Evaluation.load(results / "eval.json").to_dict()
    same = eap_plugin.evaluate(model, task, alone, sizes=[20, 0.3], random=2, distributed=True).to_dict()
    assert (found.pop("metadata")["ranks"], same.pop("metadata")["ranks"]) == (2, 1)
    assert json.dumps(found) == json.dumps(same)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ('raise RuntimeError("no luck")', "Error: rank 1 failed: RuntimeError: no luck"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "another process of this run has ended"),
    ],
    ids=["an exception", "a killed process"],
)
def test_a_rank_that_dies_ends_all(what: str, said: str, tmp_path: Path) -> None:
    program = tmp_path / "stopping.py"
    program.write_text(STOPPING.format(what=what))
    saved = tmp_path / "scores.safetensors"
    done = torchrun(2, str(program), *RUN, "-o", str(saved))
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("Error:")]
    assert said in line
    assert not saved.exists() and not done.stdout


def test_parts_of_a_distributed_run_depend_on_the_data_alone() -> None:
    assert [prompts_per_part(n) for n in (1, 64, 512, 513, 20_000)] == [8, 8, 8, 9, 313]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"algorithm": "random"}, "run it without prompts_per_request, in one process"),
        ({"remote": "local"}, "a model on a server is run by one process"),
    ],
)
def test_what_cannot_be_distributed(how: dict[str, Any], said: str) -> None:
    model = nnsight.NNsight(build("llama")) if "remote" in how else bridge(build("llama"))
    with pytest.raises(UsageError, match=said):
        eap_plugin.prune_scores(model, Batch(*prompts(9, 5)), distributed=True, **how)


def test_unconnected_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match=r"call torch\.distributed\.init_process_group\(\) first"):
        eap_plugin.prune_scores(bridge(build("llama")), Batch(*prompts(2, 5)), distributed=True)
