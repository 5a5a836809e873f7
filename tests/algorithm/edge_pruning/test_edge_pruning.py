"""Edge pruning: its gates and gradients by finite differences, resuming, stopping, and what it finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nnsight
import pytest
import torch
from safetensors.torch import load_file, save_file

import eap_plugin
from eap_plugin.algorithm.edge_pruning.gate_training import GateOptions, GateTraining
from eap_plugin.algorithm.edge_pruning.hard_concrete import gates, open_probability
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.data.batch import Batch
from eap_plugin.interventions.edge_patching import EdgePatch
from eap_plugin.interventions.recording import WriterRecorder
from tests.interventions.test_edge_patching import LOGIT_DIFF, patched_metric
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.passes import assert_declared
from tests.support.zoo import ARCHITECTURES, build, prompts

FEW: dict[str, Any] = {"steps": 12, "warmup": 4}


def prune(model: Any, *batches: Batch, **options: Any) -> eap_plugin.PruneScores:
    return eap_plugin.prune_scores(model, list(batches), algorithm="edge-pruning", **{**FEW, **options})


@pytest.mark.parametrize("wrap", [bridge, nnsight.NNsight])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_gradient_of_a_patched_run(name: str, wrap: Any) -> None:
    """Along a random direction from a random patch, by central differences: every edge at once, far from either run."""
    batch = Batch(*prompts(3, 6))
    with InFloat64():
        model = eap_plugin.wrap_model(wrap(build(name, torch.float64)))
        shape = len(model.graph.sources), len(model.graph.readers)
        patch, direction = torch.rand(2, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

        def program(model: Any) -> torch.Tensor:
            recorder, leaf = WriterRecorder(model), patch.clone().requires_grad_()
            model.forward(batch.corrupt, recorder.visitors())
            logits = model.forward(batch.clean, EdgePatch(model, recorder.writers(), leaf).visitors())
            return torch.autograd.grad(LOGIT_DIFF(logits, batch), leaf)[0]

        slope = float((model.run(program) * direction).sum())
        up, down = (patched_metric(model, batch, patch + sign * 1e-4 * direction) for sign in (1, -1))
    assert abs(slope) > 0.01
    assert slope == pytest.approx((up - down) / 2e-4, rel=1e-5)


def test_gates() -> None:
    generator = torch.Generator().manual_seed(0)
    log_alpha = 3 * torch.randn(2000, dtype=torch.float64, generator=generator)
    uniform = torch.rand(2000, dtype=torch.float64, generator=generator)
    drawn, slope = gates(log_alpha, uniform)
    assert 0 < int((drawn == 0).sum()) < 1500 and 0 < int((drawn == 1).sum()) < 1500
    difference = (gates(log_alpha + 1e-6, uniform)[0] - gates(log_alpha - 1e-6, uniform)[0]) / 2e-6
    torch.testing.assert_close(slope, difference, rtol=1e-5, atol=1e-5)
    for value in (-2.0, 0.0, 1.5):
        many = gates(torch.full((200_000,), value), torch.rand(200_000, generator=generator))[0]
        share = float((many > 0).float().mean())
        assert share == pytest.approx(float(open_probability(torch.tensor(value))), abs=0.01)


@pytest.mark.parametrize("sparsity", [0.6, 0.02, None])
def test_a_step_goes_down_the_objective(sparsity: float | None) -> None:
    """Adam is given the gradient of the loss and the penalty; of the penalty's own weight, the other way round."""
    training = GateTraining(5, GateOptions(sparsity=sparsity, warmup=0, learning_rate=0.3, penalty=0.7))
    weights = torch.tensor([0.5, -0.2, 0.1, 0.0, 0.02], dtype=torch.float64)
    training.draw()
    training.step(0.0, weights)
    before, means = (training.state()[name].clone() for name in ("values", "mean"))
    uniform = torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(training.draw(), gates(before[:-1], uniform)[0])

    def objective(values: torch.Tensor) -> torch.Tensor:
        share = open_probability(values[:-1]).mean()
        over = share if sparsity is None else torch.relu(sparsity - (1 - share))
        return (weights * gates(values[:-1], uniform)[0]).sum() + values[-1] * over

    step = 1e-6 * torch.eye(6, dtype=torch.float64)
    want = torch.stack([objective(before + d) - objective(before - d) for d in step]) / 2e-6
    want[-1] = 0 if sparsity is None else -want[-1]
    training.step(0.0, weights)
    given = (training.state()["mean"] - 0.9 * means) / 0.1
    torch.testing.assert_close(given, want, rtol=1e-5, atol=1e-8)
    assert (float(want[-1]) < 0) == (sparsity == 0.6)


def test_the_share_that_is_shut_is_reached_and_keeps_what_matters() -> None:
    model, batch = bridge(build("gpt2")), Batch(*prompts(6, 6))
    scores = prune(model, batch, steps=150, warmup=50, sparsity=0.6, metric="kl")
    probability = scores.matrix[scores.is_edge]
    assert float(1 - probability.mean()) == pytest.approx(0.6, abs=0.05)
    lowest = (-scores).matrix.masked_fill(~scores.is_edge, -9).flatten().topk(int(0.4 * scores.n_edges)).indices
    worst = torch.zeros(scores.matrix.numel(), dtype=torch.bool)
    worst[lowest] = True
    circuits = [eap_plugin.select(scores, fraction=0.4), Circuit(scores.graph, worst.view(scores.matrix.shape))]
    found = eap_plugin.evaluate(model, [batch], circuits, metric="kl")
    best, worst_of_all = (point.faithfulness for point in found.points)
    assert best > 0.9
    assert best > worst_of_all + 0.3


def test_the_seed_alone_decides() -> None:
    model, batch = bridge(build("llama")), Batch(*prompts(3, 5))
    assert prune(model, batch) == prune(model, batch)
    assert prune(model, batch) != prune(model, batch, seed=1)


def test_the_size_of_pieces_does_not_matter() -> None:
    model, batches = bridge(build("llama")), [Batch(*prompts(3, 5)), Batch(*prompts(2, 6, seed=1))]
    options = {"metric": "kl", "ablation": "zero"}
    pieces, whole = (prune(model, *batches, batch_size=size, **options).matrix for size in (2, None))
    torch.testing.assert_close(pieces, whole, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("wrap", [bridge, nnsight.NNsight])
def test_a_resumed_run_ends_as_one_that_was_not_interrupted(tmp_path: Path, wrap: Any) -> None:
    model, batch = wrap(build("gpt2")), Batch(*prompts(3, 5))
    whole, path = prune(model, batch), str(tmp_path / "training.safetensors")

    class StoppedError(Exception):
        pass

    def interrupt(done: int, total: int) -> None:
        if done == 2:  # of 3 prompt pairs: two thirds of the steps
            raise StoppedError

    with pytest.raises(StoppedError):
        prune(model, batch, checkpoint=path, checkpoint_every=3, progress=interrupt)
    assert len(load_file(path)["losses"]) == 6
    seen: list[int] = []
    resumed = prune(model, batch, checkpoint=path, progress=lambda done, total: seen.append(done))
    assert resumed == whole
    assert seen == [1, 2, 3]  # from what the checkpoint has, of 3 prompt pairs
    assert [file.name for file in tmp_path.iterdir()] == ["training.safetensors"]
    assert prune(model, batch, checkpoint=path) == whole
    longer = prune(model, batch, checkpoint=path, steps=15)
    assert longer == prune(model, batch, steps=15)


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    model, batch, path = bridge(build("gpt2")), Batch(*prompts(3, 5)), tmp_path / "training.safetensors"
    prune(model, batch, checkpoint=str(path))
    with pytest.raises(eap_plugin.UsageError, match="another run: its metric is logit_diff, this run's kl"):
        prune(model, batch, checkpoint=str(path), metric="kl")
    with pytest.raises(eap_plugin.UsageError, match="another run: its data is"):
        prune(model, Batch(*prompts(3, 5, seed=1)), checkpoint=str(path))
    with pytest.raises(eap_plugin.UsageError, match="another run: its learning_rate is 0.1, this run's 0.2"):
        prune(model, batch, checkpoint=str(path), learning_rate=0.2)
    with pytest.raises(eap_plugin.UsageError, match="the checkpoint has 12 steps; set steps to at least that"):
        prune(model, batch, checkpoint=str(path), steps=5)
    whole = path.read_bytes()
    for broken in (whole[:-1], whole[:100], b"", b"text"):
        path.write_bytes(broken)
        with pytest.raises(eap_plugin.UsageError, match="is not a complete checkpoint; give another file"):
            prune(model, batch, checkpoint=str(path))
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(eap_plugin.UsageError, match="is not a complete checkpoint; give another file"):
        prune(model, batch, checkpoint=str(path))
    with pytest.raises(eap_plugin.EapPluginError, match=f"cannot read {tmp_path}: Is a directory"):
        prune(model, batch, checkpoint=str(tmp_path))
    with pytest.raises(eap_plugin.UsageError, match="the folder .* does not exist"):
        prune(model, batch, checkpoint=str(tmp_path / "nowhere" / "file"))


def test_patience() -> None:
    """It stops as soon as the mean of the last losses is no lower than that of those before, after the warm-up."""
    training = GateTraining(3, GateOptions(steps=50, warmup=2, patience=3))
    for loss in (5.0, 5.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 5.0, 5.0, 5.0):
        assert not training.finished
        training.step(loss, torch.zeros(3, dtype=torch.float64))
    assert training.finished


@pytest.mark.parametrize("ablation", ["corrupt", "zero"])
def test_declared_passes_are_counted(ablation: str) -> None:
    assert_declared("edge-pruning", ablation=ablation, **FEW)
