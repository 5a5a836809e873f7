"""Every registered algorithm runs the model as often as it says, whatever its options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import torch

import eap_plugin
from eap_plugin.algorithm.base import Cost
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import microbatches
from eap_plugin.host.options import build_options
from tests.support.bridges import bridge
from tests.support.quick import QUICK
from tests.support.zoo import build, prompts

pytestmark = pytest.mark.exhaustive

PIECES = microbatches([Batch(*prompts(6, 5))], 2)
MODELS = {name: eap_plugin.wrap_model(bridge(build(name))) for name in ("gpt2", "gptj")}


BESIDE: dict[str, dict[str, Any]] = {"answer_function": {"grad_function": "prob"}}
"""For options that alone would have no effect, others beside which they have."""


def variants(algorithm: Any) -> Iterator[dict[str, Any]]:
    """List the default options, and variants with one option changed to each choice, negated, or to another number."""
    yield {}
    types = get_type_hints(algorithm.options)
    for field in fields(algorithm.options):
        kind = types[field.name]
        if get_origin(kind) is Literal:
            beside = BESIDE.get(field.name, {})
            yield from ({**beside, field.name: choice} for choice in get_args(kind) if choice != field.default)
        elif kind is bool:
            yield {field.name: not field.default}
        elif kind is int and field.default <= 10:
            yield {field.name: QUICK.get(algorithm.name, {}).get(field.name, field.default) + 1}


RUNS = [
    pytest.param(name, options, model, id=" ".join([name, *(f"{k}={v}" for k, v in options.items()), model]))
    for name in eap_plugin.algorithms()
    for options in variants(eap_plugin.algorithms()[name])
    for model in (["gpt2"] if options else MODELS)
]


class Counter:
    """Counts prompts that go through a model, and those whose gradients come back through its logits."""

    def __init__(self) -> None:
        self.forwards = self.backwards = 0

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Count passes inside the context."""
        forward = model.forward

        def counted(tokens: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
            def back(gradient: torch.Tensor) -> None:
                self.backwards += len(tokens)

            self.forwards += len(tokens)
            logits: torch.Tensor = forward(tokens, *args, **kwargs)
            if logits.requires_grad:
                logits.register_hook(back)
            return logits

        model.forward = counted
        try:
            yield
        finally:
            del model.forward


@pytest.mark.parametrize(("name", "given", "model"), RUNS)
def test_declared_passes_are_real_ones(name: str, given: dict[str, Any], model: str) -> None:
    algorithm, wrapped, counter = eap_plugin.algorithms()[name], MODELS[model], Counter()
    options = build_options(algorithm.options, QUICK.get(name, {}) | given, owner=name)
    metric = eap_plugin.metrics()["logit_diff"]

    def program(wrapped: Any) -> None:
        with counter.watching(wrapped):
            algorithm.attribute(wrapped, PIECES, metric, options, lambda pieces=1.0: None)

    wrapped.run(program)
    n_prompts = sum(len(piece.batch) for piece in PIECES)
    cost = algorithm.cost(options, wrapped.graph)
    assert Cost(counter.forwards / n_prompts, counter.backwards / n_prompts) == cost  # type: ignore[arg-type]
