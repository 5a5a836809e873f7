"""Evaluations of the circuits that EAP-IG and MIB evaluated, beside what they recorded; see ``golden/README.md``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.circuits.evaluation.result import Evaluation
from eap_plugin.data.batch import Batch
from eap_plugin.interventions import counterfactual
from eap_plugin.interventions.counterfactual import Ablation
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.results.node_scores import NodeScores
from eap_plugin.results.prune_scores import PruneScores
from tests.oracle.precision import InFloat64
from tests.support import golden_cases
from tests.support import golden_circuits as golden

ABLATIONS: dict[str, Ablation] = {"patching": "corrupt", "zero": "zero", "mean-positional": "mean-per-position"}


@cache
def prompts(model: str) -> Batch:
    """Return the 24 prompts of the recordings."""
    (batch,) = golden_cases.batches(model, golden_cases.Case(sizes=(24,)))
    return batch


def circuits(model: str) -> dict[str, Circuit]:
    """Return the evaluated circuits by key; of the edges in selections of nodes as shipped, only those that exist."""
    graph, found = golden.graph(model), {}
    for key in golden.recorded(model, "evaluation.json"):
        if key != "baseline":
            with_neurons = key.startswith("neuron")
            neurons = golden.mask(model, key, "neurons_in_graph") if with_neurons else None
            found[key] = Circuit(graph, golden.mask(model, key), neurons)
    return found


def evaluated(wrapped: Any, model: str, intervention: str, what: Any, **how: Any) -> Evaluation:
    """Evaluate with one of EAP-IG's interventions; its means are over the clean prompts."""
    batch = prompts(model)
    means = replace(batch, corrupt=batch.clean) if intervention.startswith("mean") else None
    with input_without_positions(model), InFloat64():
        return eap_plugin.evaluate(
            wrapped, batch, what, ablation=ABLATIONS[intervention], ablation_data=means, resamples=0, **how
        )


@contextmanager
def input_without_positions(model: str) -> Iterator[None]:
    """Leave positional embeddings in place under zero ablation: EAP-IG does not count them to ``input``, as we do."""
    positions = golden_cases.weights(model).get("pos_embed.W_pos")
    zero: Callable[[ResidualModel], Any] = counterfactual._zero

    def kept(model: ResidualModel) -> Any:
        found = zero(model)
        n_pos = prompts(name).clean.shape[1]
        return found if positions is None else replace(found, embed=positions[:n_pos][None].to(found.embed))

    name = model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(counterfactual, "_zero", kept)
        yield


def worst_error(wrapped: Any, model: str, intervention: str, metric: str) -> float:
    """Compute the largest difference to the recorded metric of any circuit on any prompt."""
    given = circuits(model)
    found = evaluated(wrapped, model, intervention, list(given.values()), metric=metric)
    record = golden.recorded(model, "evaluation.safetensors")
    sign = -1 if metric == "kl" else 1
    errors = [
        (sign * point.metric - record[f"{key}/{intervention}/{metric}"]).abs().max()
        for key, point in zip(given, found.points, strict=True)
    ]
    empty = sign * found.empty - record[f"empty/{intervention}/{metric}"]
    assert len(errors) == 80
    return float(max(*errors, empty.abs().max()))


def scores(model: str, level: str) -> PruneScores | NodeScores:
    """Return the scores of a level, ``edge``, ``node`` or ``neuron``, by which MIB's circuits were selected."""
    if level == "edge":
        return golden.scores(model)
    matrix = golden.recorded(model, "node_scores.safetensors")[f"{level}/eap_fixed"]
    return NodeScores(golden.graph(model), matrix, "node" if level == "node" else "neuron")


def area_errors(wrapped: Any, model: str, intervention: str, level: str) -> list[float]:
    """Compute the differences to MIB's curves, areas and sizes, from a selection by the largest scores."""
    found = evaluated(wrapped, model, intervention, scores(model, level))
    assert found.cpr is not None
    assert found.cmd is not None
    errors = []
    for how, signed in (("signed", True), ("abs", False)):
        name = level if level == "edge" else f"{level}_real"
        record = golden.recorded(model, "auc.json")[f"{name}/{intervention}/{how}/topn"]
        points = [point for point in found.points if point.signed is signed]
        for name, values in (
            ("faithfulnesses", [point.faithfulness for point in points]),
            ("raw_metric", [point.mean for point in points]),
            ("weighted_edge_counts", [point.weighted_edge_count for point in points]),
        ):
            errors.append(max(abs(mine - theirs) for mine, theirs in zip(values, record[name], strict=True)))
        area, value = ("area_under", found.cpr) if signed else ("area_from_1", found.cmd)
        errors.append(abs(record[area] - value))
    return errors
