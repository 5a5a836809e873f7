"""Recorded outputs of EAP-IG, where they are right; see ``golden/README.md``.

EAP-IG divides by the number of prompts in addition to the metric's mean over each batch; our scores are EAP-IG's times
that number. Three properties of EAP-IG keep a recorded output from being compared as a whole:

- its ``input`` is the token embedding alone, so with position embeddings, zeroing it is a different ablation;
- with rotary positions, no gradient reaches the first layer's attention in a run whose embeddings are interpolated, so
  ``EAP-IG-activations`` lacks that run's share there;
- ``mean`` averages over writers as well, and ``EAP-IG-activations`` with a mean interpolates towards zero: neither is
  compared at all. The oracle in ``tests/oracle`` judges these cases instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

import eap_plugin
from eap_plugin.model.graph import Graph
from tests.support import golden_cases as golden
from tests.support.golden_cases import FOLDER, TOLERANCE, Case

MODELS = tuple(model for model in golden.MODELS if model != "tiny_attn_only")

_ALL = (("scored", "all"),)

CASES = {
    "eap_1x8": Case(),
    "eap_3x8": Case(sizes=(8, 8, 8)),
    "eap_uneven_16_8": Case(sizes=(16, 8)),
    "eap_ragged": Case(lengths=golden.RAGGED),
    "eap_zero": Case(options=(("ablation", "zero"),)),
    "eap_mean-positional": Case(options=(("ablation", "mean-per-position"),), means="clean", mean_sizes=(8, 8, 8)),
    "eapig_inputs_5": Case(algorithm="eap-ig-inputs"),
    "eapig_inputs_5_3x8": Case(sizes=(8, 8, 8), algorithm="eap-ig-inputs"),
    "eapig_inputs_kl": Case(algorithm="eap-ig-inputs", metric="kl"),
    "eapig_inputs_ragged": Case(algorithm="eap-ig-inputs", lengths=golden.RAGGED),
    "clean_corrupted": Case(algorithm="clean-corrupted"),
    "clean_corrupted_3x8": Case(sizes=(8, 8, 8), algorithm="clean-corrupted"),
    "eapig_activations_5": Case(algorithm="eap-ig-activations", options=_ALL),
    "eapig_activations_5_zero": Case(algorithm="eap-ig-activations", options=(*_ALL, ("ablation", "zero"))),
}


def runs(models: Iterable[str]) -> list[tuple[str, str, str]]:
    """List every model, case and dtype that is recorded and can be compared."""
    return [
        (model, case, dtype)
        for model in models
        for case in CASES
        for dtype in TOLERANCE
        if _file(model, case, dtype).exists() and (case != "eapig_activations_5_zero" or _rotary(model))
    ]


def worst_error(scores: eap_plugin.PruneScores, model: str, case: str, dtype: str) -> float:
    """Compute the largest difference over the largest score, of the edges that can be compared."""
    want = load_file(_file(model, case, dtype))["scores"] * sum(CASES[case].sizes)
    assert scores.matrix.dtype == want.dtype
    graph = scores.graph
    expected = torch.zeros_like(scores.matrix).index_add_(1, torch.tensor(_columns(graph)), want)
    difference = (scores.matrix - expected).abs() * _compared(graph, model, case)
    return float(difference.max() / expected.abs().max())


def _compared(graph: Graph, model: str, case: str) -> Tensor:
    """Return a mask that is true at the edges for which EAP-IG is right."""
    compared = torch.ones(len(graph.sources), len(graph.readers), dtype=torch.bool)
    if CASES[case].algorithm == "eap-ig-activations" and _rotary(model):
        compared[0, : graph.n_heads + 2 * graph.n_kv_heads] = False
    if case == "eap_zero" and not _rotary(model):
        compared[0] = False
    return compared


def _columns(graph: Graph) -> list[int]:
    """Map each of EAP-IG's columns to ours, which has one k and one v reader per group of query heads."""
    group, columns = graph.n_heads // graph.n_kv_heads, []
    for layer in range(graph.n_layers):
        columns += [graph.columns[f"a{layer}.h{head}<q>"] for head in range(graph.n_heads)]
        columns += [graph.columns[f"a{layer}.h{head // group}<{x}>"] for x in "kv" for head in range(graph.n_heads)]
        columns.append(graph.columns[f"m{layer}"])
    return [*columns, graph.columns["logits"]]


def _rotary(model: str) -> bool:
    return bool(golden.config(model)["config"]["positional_embedding_type"] == "rotary")


def _file(model: str, case: str, dtype: str) -> Path:
    return FOLDER / model / "eapig" / f"{case}_{dtype}.safetensors"
