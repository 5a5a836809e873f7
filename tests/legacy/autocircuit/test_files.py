"""AutoCircuit takes the scores that are exported for it: it loads them, and prunes by them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from auto_circuit.prune import run_circuits
from auto_circuit.types import PruneScores

import eap_plugin
from tests.support.patchable import difference, loader, patchable


@pytest.mark.parametrize("name", ["tiny_ln", "tiny_llama"])
def test_exported_scores_prune_as_autocircuits_own(name: str, tmp_path: Path) -> None:
    """Also of a model with grouped keys, of which AutoCircuit has a k and a v reader for each query head."""
    model, data = patchable(name, "float32"), loader(name)
    scores = eap_plugin.prune_scores(model, data)
    assert isinstance(scores, eap_plugin.PruneScores)
    path = tmp_path / "scores.pt"
    eap_plugin.score_formats()["autocircuit"].write(scores, path)
    theirs: PruneScores = torch.load(path)
    assert difference(theirs, dict(scores)) == 0
    assert {module: part.shape for module, part in theirs.items()} == {
        module: mask.shape for module, mask in model.patch_masks.items()
    }
    ours = {module: part.clone() for module, part in scores.items()}
    found, expected = (run_circuits(model, data, [10, 40], taken) for taken in (theirs, ours))
    for size in (10, 40):
        for batch in data:
            assert torch.equal(found[size][batch.key], expected[size][batch.key])
    assert not torch.equal(found[10][data_key(data)], found[40][data_key(data)])


def data_key(data: object) -> int:
    """Return the key of the first batch."""
    return next(iter(data)).key  # type: ignore[call-overload,no-any-return]
