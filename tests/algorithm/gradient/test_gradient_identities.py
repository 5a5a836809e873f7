"""What must hold of the gradient methods: completeness, exactness on a linear model, slopes of patched runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import microbatches
from eap_plugin.interventions.counterfactual import Counterfactual
from eap_plugin.interventions.edge_patching import EdgePatch
from eap_plugin.interventions.recording import WriterRecorder
from eap_plugin.interventions.writer_outputs import Writers
from eap_plugin.metric.metric import METRICS
from eap_plugin.model.residual_model import ResidualModel
from tests.algorithm.gradient.test_eap_oracle import worst
from tests.oracle.brute_force import oracle_scores
from tests.oracle.precision import InFloat64
from tests.support import golden_cases as golden
from tests.support.bridges import bridge
from tests.support.golden_models import MAKERS
from tests.support.linear_model import VOCAB, LinearModel
from tests.support.zoo import ARCHITECTURES, build, prompts

pytestmark = pytest.mark.exhaustive

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
LOGIT_DIFF = METRICS[0]
BATCH = Batch(*prompts(3, 6))
SMALL = Batch(*prompts(4, 5, vocab=VOCAB))
METHODS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("eap", {}),
    ("eap-ig-inputs", {"steps": 2}),
    ("eap-ig-activations", {"steps": 2}),
    ("clean-corrupted", {}),
    ("mask-gradient", {}),
    ("eap-gp", {"steps": 2}),
)


def other_run(model: ResidualModel, batch: Batch, ablation: str) -> Writers:
    counterfactual = Counterfactual(model, microbatches([batch], None), ablation)  # type: ignore[arg-type]
    if not counterfactual.corrupt:
        return counterfactual.constant(batch)
    recorder = WriterRecorder(model)
    model.forward(batch.corrupt, recorder.visitors())
    return recorder.writers()


def patched(model: ResidualModel, batch: Batch, patches: list[Tensor], ablation: str = "corrupt") -> list[float]:
    """Compute the metric of the clean run with edges patched, for each patch."""

    def program(model: ResidualModel) -> list[float]:
        with torch.no_grad():
            other = other_run(model, batch, ablation)
            runs = [model.forward(batch.clean, EdgePatch(model, other, patch).visitors()) for patch in patches]
        return [float(LOGIT_DIFF(logits, batch)) for logits in runs]

    return model.run(program)


def everything(model: ResidualModel, value: float = 1.0) -> Tensor:
    return torch.full((len(model.graph.sources), len(model.graph.readers)), value, dtype=torch.float64)


def wrapped(name: str) -> ResidualModel:
    return eap_plugin.wrap_model(bridge(build(name, torch.float64)))


@pytest.mark.parametrize(
    ("mask", "ablation"),
    [(0.0, "corrupt"), (0.4, "corrupt"), (1.0, "corrupt"), (0.4, "zero"), (0.4, "mean"), (0.4, "mean-per-position")],
)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_masks_gradient_is_the_slope_of_patched_runs(name: str, mask: float, ablation: str) -> None:
    model, step = wrapped(name), 1e-4
    with InFloat64():
        scores = eap_plugin.prune_scores(model, [BATCH], algorithm="mask-gradient", mask=mask, ablation=ablation)
        edges = scores.top(scores.n_edges)
        some = edges[:: max(1, len(edges) // 5)]
        patches = []
        for edge in some:
            for sign in (1, -1):
                patch = everything(model, mask)
                patch[scores.graph.edge(edge.name)] += sign * step
                patches.append(patch)
        metrics = patched(model, BATCH, patches, ablation)
    slopes = [(up - down) / (2 * step) for up, down in zip(metrics[::2], metrics[1::2], strict=True)]
    assert slopes == pytest.approx([-edge.score for edge in some], abs=1e-6 * abs(edges[0].score))


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "olmo2", "falcon"])
def test_inputs_edges_add_up_to_the_change_of_the_metric(name: str) -> None:
    """Along the line of embeddings, the edges that leave ``input`` account for all of it, as steps grow."""
    model = wrapped(name)
    whole, nothing = patched(model, BATCH, [everything(model, 0), everything(model)])
    errors = {
        (rule, steps): abs(
            eap_plugin.prune_scores(model, [BATCH], algorithm="eap-ig-inputs", steps=steps, rule=rule).matrix[0].sum()
            - (whole - nothing)
        )
        for rule, steps in (("eap-ig", 16), ("eap-ig", 64), ("midpoint", 8), ("midpoint", 64))
    }
    assert abs(whole - nothing) > 0.1
    assert errors["eap-ig", 64] < 0.5 * errors["eap-ig", 16]
    assert errors["midpoint", 64] < 0.1 * errors["midpoint", 8]
    assert errors["midpoint", 64] < 1e-3 * abs(whole - nothing)


@pytest.mark.parametrize("name", ["gpt2", "gemma3", "olmo2", "falcon"])
def test_a_places_edges_add_up_to_what_changing_it_does(name: str) -> None:
    """The embedding, each layer's heads, each MLP: the edges that leave them account for their change."""
    model = wrapped(name)
    scores = eap_plugin.prune_scores(
        model, [BATCH], algorithm="eap-ig-activations", steps=24, rule="midpoint", level="node"
    )
    places: dict[str, list[int]] = {}
    for row, source in enumerate(model.graph.sources):
        places.setdefault(source.partition(".")[0], []).append(row)
    patches = [everything(model, 0)]
    for rows in places.values():
        patch = everything(model, 0)
        patch[rows] = 1
        patches.append(patch)
    whole, *changed = patched(model, BATCH, patches)
    effects = torch.tensor([whole - metric for metric in changed])
    sums = torch.tensor([float(scores.matrix[rows].sum()) for rows in places.values()])
    assert effects.abs().max() > 0.1
    torch.testing.assert_close(sums, effects, rtol=0, atol=5e-3 * float(effects.abs().max()))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["gpt2", "gemma3", "olmo2", "falcon", "gpt_neox", "gptj", "phi"])
def test_all_masks_gradients_add_up_to_the_change_of_the_metric(name: str, backend: str) -> None:
    """Integrated over mask values, all edges together account for all of it, as samples grow."""
    model = eap_plugin.wrap_model(BACKENDS[backend](build(name, torch.float64)))
    whole, nothing = patched(model, BATCH, [everything(model, 0), everything(model)])
    errors = [
        abs(
            eap_plugin.prune_scores(model, [BATCH], algorithm="mask-gradient", samples=samples).matrix.sum()
            - (whole - nothing)
        )
        for samples in (25, 100)
    ]
    assert errors[1] < 0.35 * errors[0]
    assert errors[1] < 0.1 * abs(whole - nothing)


def exact(model: ResidualModel, batch: Batch, ablation: str) -> Tensor:
    """Compute the effect of each edge alone, with one run per edge."""
    edges = [(row, column) for column, reader in enumerate(model.graph.readers) for row in range(reader.n_upstream)]
    patches = [everything(model, 0)]
    for edge in edges:
        patch = everything(model, 0)
        patch[edge] = 1
        patches.append(patch)
    whole, *runs = patched(model, batch, patches, ablation)
    effects = everything(model, 0)
    for edge, metric in zip(edges, runs, strict=True):
        effects[edge] = whole - metric
    return effects


@pytest.mark.parametrize("ablation", ["corrupt", "zero", "mean", "mean-per-position"])
@pytest.mark.parametrize(("algorithm", "options"), METHODS)
def test_methods_are_exact_on_a_linear_model(algorithm: str, options: dict[str, Any], ablation: str) -> None:
    model = LinearModel()
    want = exact(model, SMALL, ablation)
    assert want.abs().max() > 0.1
    scores = eap_plugin.prune_scores(model, [SMALL], algorithm=algorithm, ablation=ablation, **options)
    torch.testing.assert_close(scores.matrix, want, rtol=0, atol=1e-12)


def test_mask_gradients_tend_to_exact_on_a_linear_model() -> None:
    """With all edges ablated in part, paths of several edges are weaker; the difference goes with the mask."""
    model = LinearModel()
    want = exact(model, SMALL, "corrupt")
    errors = [
        float((eap_plugin.prune_scores(model, [SMALL], algorithm="mask-gradient", mask=m).matrix - want).abs().max())
        for m in (1e-2, 1e-4, 1e-6)
    ]
    assert errors[0] > 1e-4
    assert errors[1] == pytest.approx(1e-2 * errors[0], rel=0.05)
    assert errors[2] == pytest.approx(1e-2 * errors[1], rel=0.05)


@pytest.mark.parametrize(("algorithm", "options"), METHODS)
def test_edges_into_the_logits_add_up_where_these_are_linear(algorithm: str, options: dict[str, Any]) -> None:
    """Without a final norm, the edges of the logits' cut account for all of the change, at any number of steps."""
    model = LinearModel()
    whole, nothing = patched(model, SMALL, [everything(model, 0), everything(model)])
    scores = eap_plugin.prune_scores(model, [SMALL], algorithm=algorithm, **options)
    assert float(scores.matrix[:, -1].sum()) == pytest.approx(whole - nothing, abs=1e-12)


@pytest.mark.parametrize("function", ["logit", "prob", "logprob"])
def test_mse_is_the_distance_from_the_right_answers(function: str) -> None:
    """AutoCircuit's own takes token ids for target values; this is against plain autograd."""
    clean, corrupt, answers, wrong = prompts(3, 6, seed=2)
    answers = torch.cat([answers, wrong], 1)
    values = {"logit": lambda x: x, "prob": lambda x: x.softmax(-1), "logprob": lambda x: x.log_softmax(-1)}[function]

    def metric(logits: Tensor) -> Tensor:
        target = torch.zeros_like(logits)
        for row, ids in enumerate(answers.tolist()):
            target[row, ids] = 1 / len(ids)
        return -100 * (values(logits) - target).square().mean(1)

    scores = eap_plugin.prune_scores(
        bridge(build("gpt2")),
        [Batch(clean, corrupt, answers, wrong)],
        algorithm="mask-gradient",
        grad_function=function,
        answer_function="mse",
    )
    want = oracle_scores(build("gpt2"), "gpt2", clean, corrupt, answers, wrong, metric=metric)
    assert worst(scores, {edge: score / 100 for edge, score in want.items()}, least=1e-4) <= 1e-5


def test_autocircuits_recorded_mse_is_of_token_ids() -> None:
    """What was recorded is the mean squared difference between every logit and the answer's number."""
    data = golden.batches("tiny_gpt2", golden.Case())
    recorded = load_file(golden.FOLDER / "tiny_gpt2" / "scores" / "mg_mse_float64.safetensors")

    def of_ids(logits: Tensor, batch: Batch) -> Tensor:
        return -(logits - batch.answers).square().mean(1)

    model = bridge(MAKERS["tiny_gpt2"]("tiny_gpt2"))
    with InFloat64():
        scores = eap_plugin.prune_scores(model, data, metric=of_ids)
    assert golden.worst_error(scores, recorded, 4, 4) <= golden.TOLERANCE["float64"]


def test_the_kl_divergence_at_masks_of_zero_is_refused() -> None:
    """Its gradient is zero there; anywhere else it is not."""
    model = wrapped("gpt2")
    with pytest.raises(eap_plugin.UsageError, match="metric 'kl' is at its optimum on the clean run"):
        eap_plugin.prune_scores(model, [BATCH], algorithm="mask-gradient", metric="kl")
    scores = eap_plugin.prune_scores(model, [BATCH], algorithm="mask-gradient", metric="kl", mask=0.5)
    assert scores.matrix.abs().max() > 1e-3


@pytest.mark.parametrize(
    ("algorithm", "options"), [*METHODS, ("mask-gradient", {"samples": 2}), ("eap-ig-activations", {"scored": "all"})]
)
def test_neither_pieces_nor_padding_matter(algorithm: str, options: dict[str, Any]) -> None:
    """Prompts of several lengths in one padded batch, whole or one at a time, score as each by itself."""
    model, lengths = wrapped("llama"), (6, 4, 5)
    clean, corrupt, answers, wrong = prompts(3, 6, seed=5)
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    batch = Batch(clean, corrupt, answers, wrong, attention_mask=mask)
    alone = [
        Batch(clean[i : i + 1, :n], corrupt[i : i + 1, :n], answers[i : i + 1], wrong[i : i + 1])
        for i, n in enumerate(lengths)
    ]
    with InFloat64():
        whole, single, mean = (
            eap_plugin.prune_scores(model, data, algorithm=algorithm, batch_size=size, **options).matrix
            for data, size in (([batch], None), ([batch], 1), (alone, None))
        )
    torch.testing.assert_close(single, whole, rtol=0, atol=1e-11 * float(whole.abs().max()))
    torch.testing.assert_close(mean / 3, whole, rtol=0, atol=1e-11 * float(whole.abs().max()))
