"""EAP on real language models: SmolLM2-135M-Instruct, and Gemma 3 270M with its post-norms and sliding windows.

Needs the folders that ``scripts/fetch_real_models.py`` makes; not part of the ordinary tests.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin import PruneScores
from eap_plugin.data.batch import NO_ANSWER
from eap_plugin.model.residual_model import ResidualModel
from tests.real.models import MODELS, RealModel

N_PROMPTS, FEW_PROMPTS, BATCH_SIZE = 16, 4, 8
TASKS = ("ioi", "greater-than", "subject-verb-agreement")
SHARES = (0.01, 0.05, 0.2)
LEAST_KEPT = (0.3, 0.45, 0.8)
"""How much of the behaviour these shares of the edges, the strongest ones, have to preserve."""

LESS_KEPT = {("gemma3-270m", "subject-verb-agreement"): (0, 0.25, 0.8)}
"""Where it is less: 1 % of Gemma's edges are 57, which keep 8 % of agreement."""

Record = Callable[[str, str], None]


@pytest.fixture(scope="module", params=MODELS, ids=lambda real: real.name)
def real(request: pytest.FixtureRequest) -> RealModel:
    return request.param


@pytest.fixture(scope="module")
def model(real: RealModel) -> ResidualModel:
    if not Path(real.folder).is_dir():
        pytest.fail(f"{real.folder} is not there; run: python scripts/fetch_real_models.py {real.name}")
    return real.load()


def test_writers_and_readers_are_the_models(real: RealModel, model: ResidualModel) -> None:
    report = eap_plugin.check(model, real.task("ioi", model, FEW_PROMPTS))
    assert report.ok, report.worst
    assert {row.layer for row in report.rows} >= set(range(real.n_layers))
    assert model.graph.n_edges == real.n_edges


@pytest.mark.parametrize("task_name", TASKS)
def test_strongest_edges_carry_the_behaviour(
    task_name: str, real: RealModel, model: ResidualModel, record_property: Record
) -> None:
    task = real.task(task_name, model, N_PROMPTS)
    assert len(task) == N_PROMPTS
    done = share_done(model, task.batch())
    scores = eap_plugin.prune_scores(model, task, batch_size=BATCH_SIZE)
    circuits = [eap_plugin.select(scores, fraction=share) for share in SHARES]
    found = eap_plugin.evaluate(model, task, circuits, batch_size=BATCH_SIZE, random=1)
    kept = [point.faithfulness for point in found.points]
    random = float(found.points[-1].random_faithfulness[0])
    record_property("kept task done", f"{done:.0%}")
    for share, preserved in zip(SHARES, kept, strict=True):
        record_property(f"kept {share:>3.0%} of the edges", f"{preserved:.0%}")
    record_property(f"kept {max(SHARES):.0%}, random", f"{random:.0%}")
    assert done >= 0.9
    least = LESS_KEPT.get((real.name, task_name), LEAST_KEPT)
    assert all(preserved > enough for preserved, enough in zip(kept, least, strict=True)), kept
    assert abs(random) < 0.1


def test_backends_agree(real: RealModel, model: ResidualModel) -> None:
    task = real.task("ioi", model, FEW_PROMPTS)
    mine, other = (eap_plugin.prune_scores(each, task).matrix for each in (model, real.load("nnsight")))
    assert (mine - other).abs().max() < 1e-4 * mine.abs().max()


def test_half_of_the_layers_on_disk_score_the_same(real: RealModel, model: ResidualModel) -> None:
    where = dict.fromkeys(("model.embed_tokens", "model.rotary_emb", "model.norm", "lm_head"), "cpu")
    where |= {f"model.layers.{layer}": ("cpu", "disk")[layer % 2] for layer in range(real.n_layers)}
    task = real.task("ioi", model, FEW_PROMPTS)
    expected = eap_plugin.prune_scores(model, task).matrix
    for backend in ("transformer_lens", "nnsight"):
        spread = eap_plugin.load_model(real.folder, backend=backend, device_map=where)
        assert any(p.is_meta for module in spread.modules() for p in module.parameters())
        found = eap_plugin.prune_scores(spread, task).matrix
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_command_line_scores_the_same(real: RealModel, model: ResidualModel, tmp_path: Path) -> None:
    saved = tmp_path / "scores.safetensors"
    command = [sys.executable, "-m", "eap_plugin", "run", real.folder, "--task", "ioi", "--prompts", str(FEW_PROMPTS)]
    bos = ["--no-bos"] if real.prepend_bos is False else []
    done = subprocess.run([*command, *bos, "-o", str(saved)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = eap_plugin.prune_scores(model, real.task("ioi", model, FEW_PROMPTS))
    assert PruneScores.load(saved, expected.graph).allclose(expected, rtol=1e-4, atol=1e-5)
    assert expected.top(1)[0].name in done.stdout


def share_done(model: ResidualModel, batch: eap_plugin.Batch) -> float:
    """Compute how often a right answer is more likely than every wrong one, if not than every other word."""
    with torch.no_grad():
        logits = model.forward(batch.clean_prompts, {})
    right, wrong = (best(logits, ids) for ids in (batch.answers, batch.wrong_answers))
    return float((right > wrong).float().mean())


def best(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the largest logit among a prompt's answers."""
    return logits.gather(1, ids.clamp_min(0)).masked_fill(ids == NO_ANSWER, -torch.inf).max(dim=1).values
