"""Recorded outputs of AutoCircuit, and the models they were recorded on; see ``golden/README.md``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from eap_plugin.batch import Batch
from eap_plugin.graph import Graph
from eap_plugin.scores import PruneScores

FOLDER = Path(__file__).parent / "golden"
MODELS = ("tiny_ln", "tiny_gpt2", "tiny_llama", "tiny_llama_hf", "tiny_parallel", "tiny_attn_only")
TOLERANCE = {"float32": 1e-5, "float64": 1e-9}


@dataclass(frozen=True)
class Case:
    """How a recorded case was run, and how to ask for the same."""

    sizes: tuple[int, ...] = (8,)
    data: str = ""
    metric: str = "logit_diff"
    options: tuple[tuple[str, Any], ...] = ()


CASES = {
    "eap_seed": Case(),
    "eap_seed_val": Case(options=(("answer_diff", False),)),
    "eap_seed_3x8": Case(sizes=(8, 8, 8)),
    "eap_seed_1x16": Case(sizes=(16,)),
    "eap_seed_multi": Case(data="multi_"),
    "mg_seqpos": Case(options=(("positions", True),)),
    "mg_attn_in": Case(options=(("qkv", "summed"),)),
    "mg_logprob_avg_diff": Case(metric="logprob_diff"),
    "mg_prob_avg_diff": Case(metric="prob_diff"),
    "mg_logit_avg_val_multi": Case(data="multi_", metric="answer_logit"),
}


@cache
def config(model: str) -> dict[str, Any]:
    """The recipe's configuration of a model."""
    found: dict[str, Any] = json.loads((FOLDER / model / "config.json").read_text())
    return found


@cache
def weights(model: str) -> dict[str, Tensor]:
    """Its weights, float64, with TransformerLens' names."""
    return load_file(FOLDER / model / "weights.safetensors")


def batches(model: str, case: Case) -> list[Batch]:
    """The prompts of a case, in its batches."""
    data = load_file(FOLDER / model / "data.safetensors")
    names = ("clean", "corrupt", "answers", "wrong")
    clean, corrupt, answers, wrong = (data[case.data + name] for name in names)
    out, start = [], 0
    for size in case.sizes:
        rows = slice(start, start + size)
        out.append(Batch(clean[rows], corrupt[rows], answers[rows], wrong[rows]))
        start += size
    return out


def recorded(model: str, case: str, dtype: str) -> dict[str, Tensor]:
    """AutoCircuit's scores."""
    return load_file(FOLDER / model / "scores" / f"{case}_{dtype}.safetensors")


def worst_error(found: Any, want: dict[str, Tensor], groups: int, n_heads: int) -> float:
    """Largest difference over the largest score, AutoCircuit's repeated key/value heads summed over their groups."""
    assert set(found) == set(want)
    largest = max(float(x.abs().max()) for x in want.values())
    error = 0.0
    for module, expected in want.items():
        mine = found[module]
        heads = expected.ndim - 2
        if expected.shape != mine.shape:
            assert expected.shape[heads] == n_heads
            assert mine.shape[heads] == groups
            expected = expected.unflatten(heads, (groups, -1)).sum(heads + 1)
        assert mine.shape == expected.shape
        assert mine.dtype == expected.dtype
        error = max(error, float((mine - expected).abs().max()))
    return error / largest


def eapig(model: str, case: str, graph: Graph) -> dict[str, list[float]]:
    """EAP-IG's scores by edge; with grouped-query attention, several of a k or v edge: one for each query head."""
    scores = load_file(FOLDER / model / "eapig" / f"{case}_float64.safetensors")["scores"]
    group = graph.n_heads // graph.n_kv_heads
    readers = [r for r in graph.readers for _ in range(group if r.slot in ("k", "v") else 1)]
    assert list(scores.shape) == [len(graph.sources), len(readers)]
    out: dict[str, list[float]] = {}
    for column, reader in enumerate(readers):
        for row in range(reader.cut):
            edge = f"{graph.sources[row]}->{graph.reader_name(reader)}"
            out.setdefault(edge, []).append(float(scores[row, column]))
    return out


RAGGED = (16, 9, 12, 16, 10, 14, 11, 13)
"""The lengths of the prompts of EAP-IG's ragged cases."""


def ragged(model: str) -> Batch:
    """The prompts of EAP-IG's ragged cases: cut, and padded on the right."""
    (batch,) = batches(model, Case())
    mask = torch.arange(batch.clean.shape[1]) < torch.tensor(RAGGED)[:, None]
    return replace(batch, attention_mask=mask)


def worst_eapig(found: PruneScores, want: dict[str, list[float]]) -> float:
    """Largest difference over the largest score, of every edge with one score in both."""
    single = {edge: values[0] for edge, values in want.items() if len(values) == 1}
    assert single
    largest = max(abs(value) for value in single.values())
    return max(abs(float(found.edge(edge)) - value) for edge, value in single.items()) / largest
