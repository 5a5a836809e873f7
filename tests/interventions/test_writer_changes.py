"""Sums of writers' changes do not depend on how they are kept, nor on how many tokens are summed at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.circuits.circuit import Circuit
from eap_plugin.interventions import workspace, writer_changes
from eap_plugin.interventions.writer_changes import WriterChanges
from eap_plugin.model.edge_matrix import edge_mask
from tests.oracle.precision import InFloat64
from tests.support.alike import alike
from tests.support.bridges import bridge
from tests.support.zoo import build


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "gptj", "olmo2"])
def test_heads_kept_as_z_give_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expanded for each reader, or for all readers of a layer; circuits of edges, complements and neurons."""
    ways: list[str] = []

    def spied(way: str) -> None:
        right = getattr(WriterChanges, way)
        monkeypatch.setattr(WriterChanges, way, lambda self, *args: ways.append(way) or right(self, *args))

    with InFloat64():
        model = eap_plugin.wrap_model(bridge(build(name, torch.float64)))
        generator = torch.Generator().manual_seed(0)
        draws = torch.rand(edge_mask(model.graph).shape, generator=generator)
        neurons = torch.rand(len(draws), model.layers[0].W_O.shape[-1], generator=generator) < 0.5
        circuits = [Circuit(model.graph, edge_mask(model.graph) & (draws < share)) for share in (0.1, 0.5, 0.9)]
        circuits.append(Circuit(model.graph, circuits[1].edges, neurons))

        def evaluated(complement: bool) -> Tensor:
            found = eap_plugin.evaluate(model, alike(padded=True), circuits, complement=complement, resamples=0)
            return torch.stack([point.metric for point in found.points])

        want = [evaluated(complement) for complement in (False, True)]
        spied("_add_directly")
        spied("_add_expanded")
        monkeypatch.setattr(workspace, "WORKSPACE", {"cpu": 1})  # one token at a time, and no head kept expanded
        monkeypatch.setattr(writer_changes, "_FEW_READERS", 0)
        found = [evaluated(complement) for complement in (False, True)]
    assert set(ways) == {"_add_directly", "_add_expanded"}
    for mine, theirs in zip(found, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12 * float(theirs.abs().max()))
