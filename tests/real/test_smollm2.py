"""EAP on a real language model, SmolLM2-135M-Instruct: 30 layers, 9 query and 3 key/value heads, 70 651 edges.

Needs the folder that ``python scripts/fetch_smollm2.py`` makes; not part of the ordinary tests. Print with ``-s``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from statistics import mean

import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin import PruneScores
from eap_plugin.circuits.evaluation import faithfulness, strongest
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.task.task import Task

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "smollm2-135m"
N_PROMPTS, BATCH_SIZE = 60, 20
KEPT = 0.01
SEEDS = range(3)
MARGIN = 0.25
"""How much more of the behaviour than random edges the strongest ones must preserve; 0.36 to 0.47 was measured."""


@pytest.fixture(scope="module")
def model() -> ResidualModel:
    if not FOLDER.is_dir():
        pytest.fail(f"{FOLDER} is not there; run: python scripts/fetch_smollm2.py")
    return eap_plugin.load_model(str(FOLDER))


@pytest.fixture(scope="module")
def task(model: ResidualModel) -> Task:
    # This model's beginning-of-sequence token opens a chat turn, and its own tokenizer puts none before plain text.
    return eap_plugin.load_task("ioi", model, n_prompts=N_PROMPTS, prepend_bos=False)


@pytest.fixture(scope="module")
def scores(model: ResidualModel, task: Task) -> PruneScores:
    return eap_plugin.prune_scores(model, task, batch_size=BATCH_SIZE)


def test_model_names_the_receiver(model: ResidualModel, task: Task) -> None:
    right = 0
    for part in task.batch().split(BATCH_SIZE):
        with torch.no_grad():
            logits = model.forward(part.clean, {}, attention_mask=part.attention_mask, last=part.last)
        right += int((logits.argmax(-1, keepdim=True) == part.answers).any(-1).sum())
    print(f"\ntop-1 accuracy on {len(task)} clean prompts: {right / len(task):.1%}")
    assert right / len(task) >= 0.9


def test_writers_and_readers_are_the_models(model: ResidualModel, task: Task) -> None:
    report = eap_plugin.check(model, task)
    worst = report.worst
    print(f"\nworst residue of {len(report.rows)}: {worst.residue:.2g} (layer {worst.layer}, {worst.what})")
    assert len(report.rows) == 30 * 7 + 1
    assert report.ok


def test_strongest_edges_carry_the_behaviour(model: ResidualModel, task: Task, scores: PruneScores) -> None:
    best = strongest(scores, KEPT)
    n = int(best.sum())
    circuits = [best, *(random_edges(scores, n, seed) for seed in SEEDS)]
    metric = eap_plugin.metrics()["logit_diff"]
    eap, *random = faithfulness(model, [task.batch()], metric, circuits, batch_size=BATCH_SIZE // 2)
    print(
        f"\nlogit difference kept by {n} of {scores.n_edges} edges: {eap:.1%} by the strongest, "
        f"{', '.join(f'{share:.1%}' for share in random)} by random ones (mean {mean(random):.1%})"
    )
    assert eap > max(random) + MARGIN


def test_command_line_scores_the_same(model: ResidualModel, tmp_path: Path) -> None:
    saved = tmp_path / "scores.safetensors"
    command = [sys.executable, "-m", "eap_plugin", "run", str(FOLDER), "--task", "ioi", "--prompts", "16", "--no-bos"]
    done = subprocess.run([*command, "-o", str(saved)], capture_output=True, text=True, check=False)
    print(f"\n{done.stdout}{done.stderr}")
    assert done.returncode == 0
    expected = eap_plugin.prune_scores(model, eap_plugin.load_task("ioi", model, n_prompts=16, prepend_bos=False))
    assert PruneScores.load(saved, expected.graph).allclose(expected, rtol=1e-4, atol=1e-5)
    assert expected.top(1)[0].name in done.stdout


def random_edges(scores: PruneScores, n: int, seed: int) -> Tensor:
    """``n`` edges, each as likely as any other."""
    circuit = torch.zeros_like(scores.is_edge)
    edges = scores.is_edge.nonzero()
    chosen = edges[torch.randperm(len(edges), generator=torch.Generator().manual_seed(seed))[:n]]
    circuit[chosen[:, 0], chosen[:, 1]] = True
    return circuit
