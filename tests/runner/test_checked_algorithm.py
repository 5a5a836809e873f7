"""What an algorithm gives and leaves behind is checked; the error names algorithm, plugin, version and what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import nn

import eap_plugin
from eap_plugin import api
from eap_plugin.algorithm.base import Algorithm, Attribution, Cost
from eap_plugin.data.batch import Batch
from eap_plugin.host import hookimpl
from eap_plugin.host.kinds import KINDS
from eap_plugin.host.plugin import Plugin
from eap_plugin.host.registry import Registry
from eap_plugin.model.graph import Graph
from tests.support.bridges import bridge
from tests.support.zoo import build, prompts

ORIGIN = r"algorithm 'mine' of plugin acme:mine 2\.3"
ADVICE = "update acme, tell its author, or set EAP_PLUGIN_DISABLE=acme:mine"


@dataclass(frozen=True)
class NoOptions:
    pass


class Mine(Algorithm[NoOptions]):
    name, summary, reference, options = "mine", "does what a test wants", "-", NoOptions

    def __init__(self, do: Callable[..., Any]) -> None:
        self._do = do

    def cost(self, options: NoOptions, graph: Graph) -> Cost:
        return Cost(0, 0)

    def attribute(self, model: Any, data: Any, metric: Any, options: Any, progress: Any) -> Any:
        return self._do(model)


class EntryPoint:
    name, value = "mine", "acme"
    dist = type("Distribution", (), {"name": "acme", "version": "2.3"})()


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Scores a model with the algorithm ``mine`` of a plugin ``acme``."""

    def run(do: Callable[..., Any], model: Any) -> Any:
        registry = Registry(KINDS["algorithms"], {"mine": [(Plugin(EntryPoint()), Mine(do))]})  # type: ignore[arg-type]
        monkeypatch.setattr("eap_plugin.api.resolve.algorithms", lambda: registry)
        return eap_plugin.prune_scores(model, [Batch(*prompts(2, 5))], algorithm="mine")

    return run


def zeros(model: Any) -> Attribution:
    return Attribution(model.graph, torch.zeros(len(model.graph.sources), len(model.graph.readers)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda found: None, r"returned a builtins\.NoneType, not an Attribution"),
        (lambda found: found.matrix, r"returned a torch\.Tensor, not an Attribution"),
        (lambda found: replace(found, matrix=found.matrix.tolist()), r"returned a eap_plugin\..*Attribution, not"),
        (
            lambda found: replace(found, matrix=found.matrix[:, :-1]),
            r"returned edge scores of shape \[11, 18\], not \[sources=11, readers=19\]",
        ),
        (
            lambda found: replace(found, matrix=found.matrix.long()),
            r"returned scores of type torch\.int64, not of a floating-point type",
        ),
        (lambda found: replace(found, matrix=found.matrix + 1), "returned a score where there is no edge"),
        (
            lambda found: replace(found, matrix=found.matrix / 0),
            r"returned scores that are not finite \(209 of 209\) on test-model",
        ),
        (lambda found: replace(found, clean_metric=torch.ones(1)), r"returned the metric as a torch\.Tensor, not"),
        (
            lambda found: replace(found, graph=replace(found.graph, n_layers=1)),
            "returned scores of a graph other than that of",
        ),
    ],
)
def test_what_is_no_attribution_is_refused(score: Callable[..., Any], change: Any, said: str) -> None:
    model = bridge(build("llama"))
    assert score(zeros, model).matrix.shape == (11, 19)
    with pytest.raises(eap_plugin.EapPluginError, match=rf"\A{ORIGIN} {said}[^\n]*; {ADVICE}\Z"):
        score(lambda model: change(zeros(model)), model)


def some_module(model: Any) -> nn.Module:
    module: nn.Module = model.bridge.original_model.model.layers[1].mlp
    return module


def hook(*_: Any, **__: Any) -> None:
    return None


CHANGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "forward": (r"1 hook on \S*mlp\S* added", lambda m: some_module(m).register_forward_hook(hook)),
    "keyword": (
        r"1 hook on \S*mlp\S* added",
        lambda m: some_module(m).register_forward_pre_hook(hook, with_kwargs=True),
    ),
    "backward": (r"1 hook on \S*mlp\S* added", lambda m: some_module(m).register_full_backward_hook(hook)),
    "lens": (r"1 hook on blocks\.0\.\S*hook_out added", lambda m: m.bridge.blocks[0].hook_mlp_out.add_hook(hook)),
    "removed": (r"1 hook on \S*mlp\S* removed", lambda m: some_module(m)._forward_hooks.popitem()),
    "training": (r"training of \S*mlp\S* set to True and \d+ more", lambda m: some_module(m).train()),
    "gradient": (r"requires_grad of \S*weight set to True and 2 more", lambda m: some_module(m).requires_grad_()),
}


def state(model: Any) -> list[Any]:
    modules = [*nn.Module.modules(model), *nn.Module.modules(model.original_model)]
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_pre_hooks_with_kwargs", "fwd_hooks")
    return [
        (m.training, [p.requires_grad for p in m.parameters()], [list(vars(m).get(h, [])) for h in hooks])
        for m in modules
    ]


@pytest.mark.parametrize("what", CHANGES)
def test_what_is_left_on_the_model_is_put_back_and_told(score: Callable[..., Any], what: str) -> None:
    said, make = CHANGES[what]
    model = bridge(build("llama"))
    model(prompts(2, 5)[0])
    model.original_model.model.layers[1].mlp.register_forward_hook(hook)
    before = state(model)

    def change(residual: Any) -> Attribution:
        make(residual)
        return zeros(residual)

    with pytest.raises(
        eap_plugin.EapPluginError,
        match=rf"\A{ORIGIN} left the model changed \({said}; everything was restored\); {ADVICE}\Z",
    ):
        score(change, model)
    assert state(model) == before


def test_a_failure_keeps_its_type_names_the_plugin_and_leaves_the_model_as_it_was(score: Callable[..., Any]) -> None:
    model = bridge(build("llama"))
    model(prompts(2, 5)[0])
    before = state(model)

    def fail(residual: Any) -> Attribution:
        some_module(residual).register_forward_hook(hook)
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom") as error:
        score(fail, model)
    assert getattr(error.value, "__notes__", None) == ["in algorithm 'mine' of plugin acme:mine 2.3"]
    assert state(model) == before


@hookimpl
def register_backends(register: Any) -> None:
    """Register a backend whose ``accepts`` fails; this module is a plugin."""

    class Doubtful:
        name, summary = "doubtful", "raises"

        def accepts(self, model: object) -> bool:
            raise KeyError("no idea")

        wrap = load = accepts

    register(Doubtful())


def test_a_backend_that_cannot_tell_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin(EntryPoint())  # type: ignore[arg-type]
    plugin._manager.register(__import__("sys").modules[__name__], "mine")
    doubtful = plugin.collect(KINDS["backends"])["doubtful"]
    builtin = api.backends()
    claims = {**builtin._claims, "doubtful": [(plugin, doubtful)]}
    registry = Registry(KINDS["backends"], claims)
    monkeypatch.setattr("eap_plugin.api.models.backends", lambda: registry)
    assert eap_plugin.wrap_model(bridge(build("gpt2"))).graph.n_layers == 2
    with pytest.raises(
        eap_plugin.UsageError,
        match=r"backend 'doubtful' of plugin acme:mine 2\.3 failed to examine it: KeyError: 'no idea'",
    ):
        eap_plugin.wrap_model(nn.Linear(2, 2))
