"""The same scores on an accelerator as on the CPU, where there is one."""

from __future__ import annotations

import pytest
import torch

import eap_plugin
from eap_plugin.circuits.evaluation import faithfulness, strongest
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
    wrapped = eap_plugin.wrap_model(model)
    metric = eap_plugin.metrics()["logit_diff"]
    whole, nothing = faithfulness(wrapped, [batch], metric, [strongest(on_cpu, 1.0), strongest(on_cpu, 0.0)])
    assert whole == pytest.approx(1, abs=1e-3)
    assert nothing == pytest.approx(0, abs=1e-3)
