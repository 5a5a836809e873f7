"""Recorded outputs of AutoCircuit, and the models they were recorded on; see ``golden/README.md``."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.model.graph import Graph
from eap_plugin.results.prune_scores import PruneScores

FOLDER = Path(__file__).parents[1] / "golden"
MODELS = ("tiny_ln", "tiny_gpt2", "tiny_llama", "tiny_llama_hf", "tiny_parallel", "tiny_attn_only")
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


@dataclass(frozen=True)
class Case:
    """How a recorded case was run, and how to reproduce it.

    Attributes:
        sizes: the number of prompts in each batch.
        data: the prefix of the recorded prompts.
        metric: the metric.
        algorithm: the algorithm.
        options: the algorithm's options.
        scale: the factor from the recorded scores to ours.
        means: the prompts that means are taken over: "clean", "both" or "corrupt".
        mean_sizes: the number of those prompts in each batch, if it differs from ``sizes``.
        apart: whether means are taken separately over each batch.
        lengths: the number of tokens of each prompt of a batch, if not all are used.
    """

    sizes: tuple[int, ...] = (8,)
    data: str = ""
    metric: str = "logit_diff"
    algorithm: str = "eap"
    options: tuple[tuple[str, Any], ...] = ()
    scale: float = 1.0
    means: str = "corrupt"
    mean_sizes: tuple[int, ...] = ()
    apart: bool = False
    lengths: tuple[int, ...] = ()


def _masks(*sizes: int, scale: float = 1.0, data: str = "", **options: Any) -> Case:
    return Case(sizes or (8,), data, algorithm="mask-gradient", options=tuple(options.items()), scale=scale)


def _ablated(ablation: str, **how: Any) -> Case:
    return Case((8, 8, 8), options=(("ablation", ablation),), **how)


_EAP = {
    "eap_seed": Case(),
    "eap_seed_val": Case(options=(("answer_diff", False),)),
    "eap_seed_3x8": Case(sizes=(8, 8, 8)),
    "eap_seed_1x16": Case(sizes=(16,)),
    "eap_seed_multi": Case(data="multi_"),
    "mg_seqpos": Case(options=(("positions", True),)),
    "mg_seqpos_zero": Case(options=(("positions", True), ("ablation", "zero"))),
    "mg_attn_in": Case(options=(("qkv", "summed"),)),
    "mg_logprob_avg_diff": Case(metric="logprob_diff"),
    "mg_prob_avg_diff": Case(metric="prob_diff"),
    "mg_logit_avg_val_multi": Case(data="multi_", metric="answer_logit"),
    "mg_abl_zero": _ablated("zero"),
    "mg_abl_tokenwise_mean_corrupt": _ablated("mean-per-position"),
    "mg_abl_tokenwise_mean_clean": _ablated("mean-per-position", means="clean"),
    "mg_abl_tokenwise_mean_clean_and_corrupt": _ablated("mean-per-position", means="both"),
    "mg_abl_batch_tokenwise_mean_corrupt": _ablated("mean-per-position", apart=True),
    "mg_abl_batch_all_tok_mean_corrupt": _ablated("mean", apart=True),
    "mg_abl_batch_all_tok_mean_clean": _ablated("mean", means="clean", apart=True),
}

# AutoCircuit adds up the 6 gradients of integrated_grad_samples=5; we average them.
_SIXTH = 1 / 6
_MASKS = {
    "mg_mask05": _masks(mask=0.5),
    "mg_mask1": _masks(mask=1.0),
    "mg_ig5_logit": _masks(samples=5, scale=_SIXTH),
    "mg_ig5_prob": _masks(samples=5, scale=_SIXTH, grad_function="prob"),
    "mg_ig5_logprob": _masks(samples=5, scale=_SIXTH, grad_function="logprob"),
    "mg_ig5_3x8": _masks(8, 8, 8, samples=5, scale=_SIXTH),
    "mg_seqpos_3x8_ig5": _masks(8, 8, 8, samples=5, scale=_SIXTH, positions=True),
    "mg_logit_avg_val": _masks(grad_function="logit", answer_function="avg_val"),
    "mg_prob_avg_val": _masks(grad_function="prob", answer_function="avg_val"),
    "mg_logprob_avg_val": _masks(grad_function="logprob", answer_function="avg_val"),
    "mg_logit_exp_avg_diff": _masks(grad_function="logit_exp"),
    "mg_logit_exp_avg_val": _masks(grad_function="logit_exp", answer_function="avg_val"),
}

# Our name of a case -> the recorded one, for cases that are run again with another algorithm or in another way.
_AGAIN = {
    "mg_logit_avg_diff again": ("eap_seed", _masks()),
    "mg_logit_avg_val_multi again": (
        "mg_logit_avg_val_multi",
        _masks(data="multi_", grad_function="logit", answer_function="avg_val"),
    ),
    "mg_seqpos_zero again": ("mg_seqpos_zero", _masks(positions=True, ablation="zero")),
    "mg_attn_in again": ("mg_attn_in", _masks(qkv="summed")),
    "mg_abl_zero again": ("mg_abl_zero", _masks(8, 8, 8, ablation="zero")),
}

CASES = _EAP | _MASKS | {name: case for name, (_, case) in _AGAIN.items()}


def recorded_name(case: str) -> str:
    """Return the name of a case in the file."""
    return _AGAIN[case][0] if case in _AGAIN else case


def dtypes(model: str, case: str) -> list[str]:
    """Return the dtypes in which a case was recorded."""
    folder = FOLDER / model / "scores"
    return [dtype for dtype in TOLERANCE if (folder / f"{recorded_name(case)}_{dtype}.safetensors").exists()]


def runs(models: Iterable[str]) -> list[tuple[str, str, str]]:
    """List every recorded model, case and dtype."""
    return [(model, case, dtype) for model in models for case in CASES for dtype in dtypes(model, case)]


def scores(wrapped: Any, case: Case, data: list[Batch], reference: list[Batch]) -> PruneScores:
    """Compute our scores of a case, on the prompts and with means over the prompts that ``prompts`` returns."""
    if not case.apart:
        return _scores(wrapped, case, data, reference)
    found = [_scores(wrapped, case, [batch], [batch]) for batch in data]
    return replace(found[0], matrix=torch.stack([one.matrix for one in found]).sum(0))


def prompts(model: str, case: Case) -> tuple[list[Batch], list[Batch]]:
    """Return the prompts that a case scores, and those that its means are over."""
    return batches(model, case), batches(model, replace(case, sizes=case.mean_sizes or case.sizes))


def _scores(wrapped: Any, case: Case, data: list[Batch], reference: list[Batch]) -> PruneScores:
    clean = [replace(batch, corrupt=batch.clean) for batch in reference]
    means = {"corrupt": reference, "clean": clean, "both": [*reference, *clean]}[case.means]
    options = dict(case.options)
    if str(options.get("ablation")).startswith("mean"):
        options["ablation_data"] = means
    found: PruneScores = eap_plugin.prune_scores(wrapped, data, algorithm=case.algorithm, metric=case.metric, **options)
    return found


@cache
def config(model: str) -> dict[str, Any]:
    """Load the recorded configuration of a model."""
    found: dict[str, Any] = json.loads((FOLDER / model / "config.json").read_text())
    return found


@cache
def weights(model: str) -> dict[str, Tensor]:
    """Load a model's weights in float64, under TransformerLens' names."""
    return load_file(FOLDER / model / "weights.safetensors")


def batches(model: str, case: Case) -> list[Batch]:
    """Return the prompts of a case, in its batches."""
    data = load_file(FOLDER / model / "data.safetensors")
    names = ("clean", "corrupt", "answers", "wrong")
    clean, corrupt, answers, wrong = (data[case.data + name] for name in names)
    mask = torch.arange(clean.shape[1]) < torch.tensor(case.lengths)[:, None] if case.lengths else None
    out, start = [], 0
    for size in case.sizes:
        rows = slice(start, start + size)
        out.append(Batch(clean[rows], corrupt[rows], answers[rows], wrong[rows], attention_mask=mask))
        start += size
    return out


def recorded(model: str, case: str, dtype: str) -> dict[str, Tensor]:
    """Load AutoCircuit's scores, converted to our scale."""
    file = FOLDER / model / "scores" / f"{recorded_name(case)}_{dtype}.safetensors"
    return {module: CASES[case].scale * x for module, x in load_file(file).items()}


def worst_error(found: Any, want: dict[str, Tensor], groups: int, n_heads: int) -> float:
    """Compute the largest difference over the largest score; AutoCircuit's repeated key/value heads are summed."""
    assert set(found) == set(want)
    largest = max(float(x.abs().max()) for x in want.values())
    error = 0.0
    for module, expected in want.items():
        mine = found[module]
        heads = expected.ndim - 2
        if expected.shape != mine.shape:
            assert expected.shape[heads] == n_heads
            assert mine.shape[heads] == groups
            expected = torch.unflatten(expected, heads, (groups, -1)).sum(heads + 1)
        assert mine.shape == expected.shape
        assert mine.dtype == expected.dtype
        error = max(error, float((mine - expected).abs().max()))
    return error / largest


def eapig(model: str, case: str, graph: Graph) -> dict[str, list[float]]:
    """Load EAP-IG's scores by edge; with grouped-query attention, a k or v edge has one score per query head."""
    scores = load_file(FOLDER / model / "eapig" / f"{case}_float64.safetensors")["scores"]
    group = graph.n_heads // graph.n_kv_heads
    readers = [r for r in graph.readers for _ in range(group if r.slot in ("k", "v") else 1)]
    assert list(scores.shape) == [len(graph.sources), len(readers)]
    out: dict[str, list[float]] = {}
    for column, reader in enumerate(readers):
        for row in range(reader.n_upstream):
            edge = f"{graph.sources[row]}->{graph.reader_name(reader)}"
            out.setdefault(edge, []).append(float(scores[row, column]))
    return out


RAGGED = (16, 9, 12, 16, 10, 14, 11, 13)
"""The lengths of the prompts of EAP-IG's ragged cases."""


def ragged(model: str) -> Batch:
    """Return the prompts of EAP-IG's ragged cases, truncated and padded on the right."""
    return batches(model, Case(lengths=RAGGED))[0]


def worst_eapig(found: PruneScores, want: dict[str, list[float]]) -> float:
    """Compute the largest difference over the largest score, of the edges with a single score in both."""
    single = {edge: values[0] for edge, values in want.items() if len(values) == 1}
    assert single
    largest = max(abs(value) for value in single.values())
    return max(abs(float(found.edge(edge)) - value) for edge, value in single.items()) / largest
