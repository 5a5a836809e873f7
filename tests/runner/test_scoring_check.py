"""The self-check of a scoring run is done on the algorithm's own run where that is plain, and on its own otherwise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nnsight
import pytest
import torch
from torch import Tensor

import eap_plugin
from eap_plugin.algorithm.base import Attribution
from eap_plugin.data.batch import Batch
from eap_plugin.data.microbatches import Microbatch
from eap_plugin.host.options import build_options
from eap_plugin.interventions.backward_rules import straight_through
from eap_plugin.interventions.recording import GradientRecorder, WriterRecorder, merge
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor
from eap_plugin.runner.program import Outcome, score
from eap_plugin.runner.requests import silent
from eap_plugin.runner.self_check.self_check import self_check
from eap_plugin.runner.shared_prefixes import Sharing
from eap_plugin.testing.watched import Watched
from tests.support.bridges import bridge
from tests.support.quick import QUICK
from tests.support.zoo import build, prompts

BACKENDS: dict[str, Callable[[Any], Any]] = {"TransformerBridge": bridge, "nnsight": nnsight.NNsight}
METRIC = eap_plugin.metrics()["logit_diff"]
PLAIN = {"eap", "clean-corrupted", "eap-gp", "eap-ig-activations", "eap-ig-inputs"}
"""The algorithms whose first run with gradients is plain from the embedding on."""


def run(model: ResidualModel, attribute: Any, options: Any = None, length: int = 5) -> Outcome:
    """Score four prompt pairs, two at a time."""
    data = [Microbatch(Batch(*prompts(4, length)), 1.0)]
    return model.run(score, data, 2, attribute, METRIC, options, Sharing(0), silent)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", list(eap_plugin.algorithms()))
def test_runs_only_what_the_algorithm_does_not(name: str, backend: str) -> None:
    """One prompt more, forward and back, for algorithms without a plain run; none for the others."""
    algorithm, model = eap_plugin.algorithms()[name], Watched(eap_plugin.wrap_model(BACKENDS[backend](build("llama"))))
    options = build_options(algorithm.options, QUICK.get(name, {}), name)
    measured = []

    def attribute(*args: Any) -> Attribution:
        found = algorithm.attribute(*args)
        measured.append(found.clean_metric is not None and found.corrupt_metric is not None)
        return found

    assert run(model, attribute, options).found is not None
    cost = algorithm.cost(options, model.graph)
    forwards = 4 * (cost.forwards + (0 if measured[0] else 2))
    own = int(name not in PLAIN)
    assert (model.prompts, model.prompts_back) == (forwards + own, 4 * cost.backwards + own)


def in_place(layer: int, value: Tensor) -> Tensor:
    value[:, -1] *= 0.5
    return value


def hooked(layer: int, value: Tensor) -> None:
    value.register_hook(lambda gradient: 2 * gradient)  # type: ignore[no-untyped-call]


CHANGES: dict[str, dict[Site, Visitor]] = {
    "nothing": {},
    "an embedding": {"embed": lambda layer, value: value.detach() * 1.5},
    "a value": {"z": lambda layer, value: value * 0.5},
    "a value in place": {"z": in_place},
    "a gradient": {"attn_out": lambda layer, value: straight_through(value, value * 0.5)},
    "a gradient, by a hook": {"mlp_out": hooked},
}


class Changing:
    """An algorithm whose runs are changed by visitors; its scores are of no interest."""

    def __init__(self, visit: dict[Site, Visitor], n_runs: int = 1, zero: bool = False) -> None:
        self.visit, self.n_runs, self.zero = visit, n_runs, zero

    def __call__(self, model: ResidualModel, data: Any, metric: Any, options: Any, progress: Any) -> Attribution:
        for piece in [*data] * self.n_runs:
            recorder = GradientRecorder(model)
            logits = model.forward(piece.batch.clean_prompts, merge(self.visit, recorder.visitors()))
            recorder.gradients(metric(logits, piece.batch) * (0 if self.zero else 1))
        return Attribution(model.graph, torch.zeros(len(model.graph.sources), len(model.graph.readers)), 0.0, 0.0)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("change", CHANGES)
def test_only_a_plain_run_counts(change: str, backend: str) -> None:
    model = Watched(eap_plugin.wrap_model(BACKENDS[backend](build("gpt2"))))
    assert run(model, Changing(CHANGES[change])).found is not None
    assert model.prompts == 4 + (change not in ("nothing", "an embedding"))


def test_a_gradient_of_zero_does_not_count() -> None:
    model = Watched(eap_plugin.wrap_model(bridge(build("gpt2"))))
    assert run(model, Changing({}, zero=True)).found is not None
    assert model.prompts == 4 + 1


def broken(what: str) -> Watched:
    """Make a model whose first block adds to the residual stream, or passes back, what the graph does not know."""
    model = build("gpt2")
    block = model.transformer.h[0]
    if what == "values":
        block.register_forward_hook(lambda _, args, output: output + 0.01)
    else:
        block.ln_1.register_forward_hook(lambda _, args, output: output + 0.1 * (args[0] - args[0].detach()))
    return Watched(eap_plugin.wrap_model(nnsight.NNsight(model)))


@pytest.mark.parametrize(
    ("what", "row"), [("values", "writers reaching attention"), ("g", "gradient reaching attention")]
)
@pytest.mark.parametrize("change", ["nothing", "a value"])
def test_refuses_with_the_report_of_its_own_runs(what: str, row: str, change: str) -> None:
    """Before the algorithm goes on for long, whether its runs are plain or not, with the prompt's length, too."""
    model, unlimited = broken(what), broken(what)
    outcome = run(model, Changing(CHANGES[change], n_runs=20), length=24)
    assert outcome.found is None
    assert model.prompts <= 8 * 2 + 2
    assert outcome.report.failing[0].what == row
    first = Batch(*prompts(4, 24)).select(slice(0, 1)).clean_prompts
    assert outcome.report == unlimited.run(self_check, first)


def test_a_failing_algorithm_is_not_blamed_for_its_model() -> None:
    def fail(*args: Any) -> Attribution:
        raise ValueError("the algorithm's own error")

    assert run(broken("values"), fail).report.failing
    with pytest.raises(ValueError, match="own error"):
        run(eap_plugin.wrap_model(bridge(build("gpt2"))), fail)


def test_a_writer_recorder_sees_the_same_in_an_observed_run() -> None:
    """The first run with gradients is observed, the second is not."""
    seen = []

    def attribute(model: ResidualModel, data: Any, *rest: Any) -> Attribution:
        for _ in range(2):
            writers, readers = WriterRecorder(model), GradientRecorder(model)
            logits = model.forward(data[0].batch.clean_prompts, merge(writers.visitors(), readers.visitors()))
            seen.append([writers.writers().embed, readers.gradients(logits.sum()).final, model.observer is None])
        return Changing({})(model, data, *rest)

    assert run(eap_plugin.wrap_model(bridge(build("llama"))), attribute).found is not None
    torch.testing.assert_close(seen[0][:2], seen[1][:2], rtol=0, atol=0)
    assert [unobserved for *_, unobserved in seen] == [False, True]
