"""Counting an algorithm's passes, to hold them against what it declares."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import pytest
import torch

import eap_plugin
from eap_plugin.algorithm.base import Cost
from eap_plugin.batch import Batch, pieces
from eap_plugin.host.options import build_options
from eap_plugin.metric.metric import Metric
from tests.bridges import bridge
from tests.zoo import build, prompts


def assert_declared(algorithm: str, metric: Metric | None = None, **options: Any) -> None:
    """On two pieces of data: the passes are those declared, each of one piece's prompts, and progress adds up."""
    provider = eap_plugin.algorithms()[algorithm]
    chosen = build_options(provider.options, options, algorithm)
    model = eap_plugin.wrap_model(bridge(build("llama")))
    data = pieces([Batch(*prompts(4, 5))], 2)
    prompts_run, backwards, done = [], [], []
    forward, grad = model.forward, torch.autograd.grad

    def counting_forward(tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        prompts_run.append(len(tokens))
        return forward(tokens, *args, **kwargs)

    def counting_grad(*args: Any, **kwargs: Any) -> Any:
        backwards.append(1)
        return grad(*args, **kwargs)

    judge = metric or eap_plugin.metrics()["logit_diff"]
    with patch.object(model, "forward", counting_forward), patch.object(torch.autograd, "grad", counting_grad):
        model.run(provider.attribute, data, judge, chosen, lambda pieces=1.0: done.append(pieces))
    assert Cost(sum(prompts_run) / 4, len(backwards) / 2) == provider.cost(chosen, model.graph)
    assert sum(done) == pytest.approx(2)
