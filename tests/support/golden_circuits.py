"""Circuits that EAP-IG selected and evaluated, in float64, on recorded models; see ``golden/README.md``."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from eap_plugin.model.edge_matrix import ungrouped
from eap_plugin.model.graph import Graph
from eap_plugin.results.loading import scores_of
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from tests.support.golden_cases import FOLDER, config

MODELS = ("tiny_ln", "tiny_gpt2", "tiny_llama_hf", "tiny_parallel")


@cache
def recorded(model: str, name: str) -> Any:
    """Return a recorded file: a document, or tensors by key."""
    path = FOLDER / model / "eval" / name
    return json.loads(path.read_text()) if path.suffix == ".json" else load_file(path)


def graph(model: str) -> Graph:
    """Return the model's graph as EAP-IG has it, with one k and one v reader for each query head."""
    sizes = config(model)["config"]
    return ungrouped(Graph(sizes["n_layers"], sizes["n_heads"], sizes["n_heads"], parallel=sizes["parallel_attn_mlp"]))


def scores(model: str) -> PruneScores:
    """Return the scores that circuits were selected by, as EAP-IG has them."""
    matrix = load_file(FOLDER / model / "eapig" / "eap_1x8_float64.safetensors")["scores"]
    return PruneScores(graph(model), matrix)


def node_scores(model: str, level: str) -> PruneScores | NodeScores:
    """Return the scores that circuits of nodes or neurons were selected by."""
    matrix = recorded(model, "node_scores.safetensors")[f"{level}/eap_fixed"]
    return scores_of(level, graph(model), matrix, {})


def mask(model: str, key: str, part: str = "in_graph") -> Tensor:
    """Return a recorded selection; of edges, only those that exist."""
    found: Tensor = recorded(model, "selection.safetensors")[f"{key}/{part}"].bool()
    if part != "in_graph":
        return found
    cuts = torch.tensor([reader.n_upstream for reader in graph(model).readers])
    return found & (torch.arange(len(found))[:, None] < cuts)


def keys(model: str, method: str) -> list[str]:
    """Return the keys of the recorded selections by one method of EAP-IG, such as ``topn``."""
    return [key for key in recorded(model, "selection.json") if key.split("/")[0] == method]
