"""``activation-magnitude`` against what the oracle says that writers add."""

from __future__ import annotations

import nnsight
import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from eap_plugin.model.edge_matrix import edge_mask
from tests.oracle.layout import LAYOUTS
from tests.oracle.writers import observe
from tests.support.bridges import bridge
from tests.support.zoo import ARCHITECTURES, build, prompts

PROMPTS = prompts(4, 6)


@pytest.mark.parametrize("average", ["signed", "absolute"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_magnitudes(name: str, average: str) -> None:
    written = observe(build(name), LAYOUTS[name], PROMPTS[0]).written
    want = torch.stack([(x.abs() if average == "absolute" else x).mean().abs() for x in written.values()])
    for backend in (bridge(build(name)), nnsight.NNsight(build(name))):
        scores = eap_plugin.prune_scores(
            backend, [Batch(*PROMPTS)], algorithm="activation-magnitude", average=average, batch_size=3
        )
        torch.testing.assert_close(scores.matrix, want[:, None] * edge_mask(scores.graph))
        nodes = eap_plugin.prune_scores(
            backend, [Batch(*PROMPTS)], algorithm="activation-magnitude", average=average, level="node"
        )
        torch.testing.assert_close(nodes.matrix, want)


def test_padding_does_not_count() -> None:
    clean, corrupt, *answers = (x[:1] for x in prompts(1, 6))
    model = bridge(build("llama"))
    mask = torch.arange(6)[None] < 4
    padded = Batch(clean, corrupt, *answers, attention_mask=mask)
    short = Batch(clean[:, :4], corrupt[:, :4], *answers)
    one, two = (eap_plugin.prune_scores(model, [batch], algorithm="activation-magnitude") for batch in (padded, short))
    torch.testing.assert_close(one.matrix, two.matrix)
