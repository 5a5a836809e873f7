"""The same scores on an accelerator as on the CPU, where there is one."""

from __future__ import annotations

import pytest
import torch

import eap_plugin
from eap_plugin.data.batch import Batch
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "falcon"])
def test_equals_the_cpu(name: str) -> None:
    batch = Batch(*prompts(4, 7), attention_mask=torch.tensor([[0, 0, 1, 1, 1, 1, 1]] * 4).bool())
    model = bridge(build(name))
    for options in ({}, {"positions": True}, {"batch_size": 3}):
        on_cpu = eap_plugin.prune_scores(model.cpu(), [batch], **options)
        on_gpu = eap_plugin.prune_scores(model.cuda(), [batch], **options)
        limit = 1e-4 * float(on_cpu.matrix.abs().max())
        torch.testing.assert_close(on_gpu.matrix, on_cpu.matrix, rtol=0, atol=limit)
    there = eap_plugin.evaluate(model, [batch], on_cpu, sizes=[0.1, 0.7])
    here = eap_plugin.evaluate(model.cpu(), [batch], on_cpu, sizes=[0.1, 0.7])
    found, want = ([point.faithfulness for point in each.points] for each in (there, here))
    assert found == pytest.approx(want, abs=1e-3)
