"""A check of an algorithm's passes against its declared cost, with any options."""

from __future__ import annotations

from typing import Any

import pytest

import eap_plugin
from eap_plugin.algorithm.base import Cost
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import microbatches
from eap_plugin.host.options import build_options
from eap_plugin.testing.watched import Watched
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts


def assert_declared(algorithm: str, **options: Any) -> None:
    """Check on two microbatches that the passes are those declared and that progress adds up."""
    provider = eap_plugin.algorithms()[algorithm]
    chosen = build_options(provider.options, options, algorithm)
    model, done = Watched(eap_plugin.wrap_model(bridge(build("llama")))), list[float]()
    data = microbatches([Batch(*prompts(4, 5))], 2)
    model.run(provider.attribute, data, eap_plugin.metrics()["logit_diff"], chosen, lambda n=1.0: done.append(n))
    declared: Cost = provider.cost(chosen, model.graph)
    assert (model.prompts, model.prompts_back) == (4 * declared.forwards, 4 * declared.backwards)
    assert sum(done) == pytest.approx(2)
