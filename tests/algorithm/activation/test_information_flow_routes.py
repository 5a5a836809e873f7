"""Information flow routes against EAP-IG's recorded scores and against the definition on plain models."""

from __future__ import annotations

from typing import Any

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.algorithm.gradient.test_eap_oracle import worst
from tests.oracle.brute_force import readers
from tests.oracle.layout import LAYOUTS
from tests.oracle.precision import InFloat64
from tests.oracle.writers import observe
from tests.support import golden_cases as golden
from tests.support.bridges import bridge
from tests.support.golden_models import MAKERS
from tests.support.passes import assert_declared
from tests.support.zoo import ARCHITECTURES, N_LAYERS, build, prompts


def routes(model: Any, *batches: Batch, **options: Any) -> eap_plugin.PruneScores:
    return eap_plugin.prune_scores(model, list(batches), algorithm="information-flow-routes", **options)


def from_definition(name: str, clean: torch.Tensor) -> dict[tuple[str, str], torch.Tensor]:
    """Compute each edge's importance by position, one reader at a time."""
    run, out = observe(build(name, torch.float64), LAYOUTS[name], clean), {}
    for reader in readers(LAYOUTS[name], N_LAYERS):
        whole, writers = run.read[reader.stream], run.feeding[reader.stream]
        near = {u: whole.norm(1, dim=-1) - (whole - run.written[u]).norm(1, dim=-1) for u in writers}
        near = {u: x.clamp_min(0) for u, x in near.items()}
        for u in writers:
            share = near[u] / sum(near.values())
            out[u, reader.name] = share.mean(0) / clean.shape[1]
    return out


@pytest.mark.parametrize("wrap", [bridge, nnsight.NNsight])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_edge(name: str, wrap: Any) -> None:
    tokens = prompts(3, 6)
    with InFloat64():
        want = from_definition(name, tokens[0])
        model = wrap(build(name, torch.float64))
        by_position, scores = routes(model, Batch(*tokens), positions=True), routes(model, Batch(*tokens))
    assert worst(by_position, want) <= 1e-12
    torch.testing.assert_close(by_position.sum_positions().matrix, scores.matrix)
    torch.testing.assert_close(scores.matrix.sum(0), torch.ones(len(scores.graph.readers), dtype=torch.float64))


def test_pieces_of_positions_and_of_data(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0]]).bool()
    batch = Batch(*prompts(3, 6), attention_mask=mask)
    model = bridge(build("llama"))
    whole = routes(model, batch)
    monkeypatch.setitem(eap_plugin.interventions.workspace.WORKSPACE, "cpu", 1)
    torch.testing.assert_close(routes(model, batch, batch_size=2).matrix, whole.matrix)
    longer = Batch(*prompts(2, 8))
    both = routes(model, batch, longer, positions=True).sum_positions().matrix
    torch.testing.assert_close(both, whole.matrix + routes(model, longer).matrix)


@pytest.mark.parametrize("case", ["ifr", "ifr_ragged"])
def test_equals_eapig(case: str) -> None:
    """One score in it for each query head of a key/value group: all of a layer's are the same."""
    (batch,) = golden.batches("tiny_llama_hf", golden.Case())
    batch = golden.ragged("tiny_llama_hf") if case == "ifr_ragged" else batch
    with InFloat64():
        scores = routes(bridge(MAKERS["tiny_llama_hf"]("tiny_llama_hf")), batch)
    want = {edge: values[:1] for edge, values in golden.eapig("tiny_llama_hf", case, scores.graph).items()}
    assert golden.worst_eapig(scores, want) <= 1e-7


def test_declared_passes_are_counted() -> None:
    assert_declared("information-flow-routes")
