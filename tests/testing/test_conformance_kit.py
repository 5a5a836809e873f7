"""The kit fails what it should: for each fault of an algorithm or a backend, the check that is there for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

import eap_plugin
from eap_plugin.algorithm.base import Algorithm, Attribution
from eap_plugin.algorithm.gradient.eap import EAP
from eap_plugin.backend.transformer_lens.bridge import BridgeModel
from eap_plugin.host import get_host
from eap_plugin.host.kinds import KINDS
from eap_plugin.host.options import option
from eap_plugin.host.registry import Registry
from eap_plugin.testing import AlgorithmTests, BackendTests
from eap_plugin.testing.algorithm import Chosen, load
from tests.oracle.precision import InFloat64
from tests.support.bridges import bridge
from tests.support.zoo import build

Attribute = Callable[[Algorithm[Any], Any, Any, Any, Any, Any], Attribution]


def plain(self: Algorithm[Any], model: Any, data: Any, metric: Any, options: Any, progress: Any) -> Attribution:
    return EAP.attribute(self, model, data, metric, options, progress)  # type: ignore[arg-type]


def faulty(before: Callable[..., Any] | None = None, after: Callable[..., Any] | None = None) -> Attribute:
    """EAP, with something done to model and data before, or to what it finds after."""

    def attribute(self: Any, model: Any, data: Any, metric: Any, options: Any, progress: Any) -> Attribution:
        if before is not None:
            before(model, data)
        found = plain(self, model, data, metric, options, progress)
        return found if after is None else replace(found, matrix=after(found.matrix, model, data))

    return attribute


def silent(self: Any, model: Any, data: Any, metric: Any, options: Any, progress: Any) -> Attribution:
    return plain(self, model, data, metric, options, lambda pieces=1.0: None)


def swallowing(self: Any, model: Any, data: Any, metric: Any, options: Any, progress: Any) -> Attribution | None:
    try:
        return plain(self, model, data, metric, options, progress)
    except Exception:
        return None


def first_parameter(model: Any) -> torch.nn.Parameter:
    parameter: torch.nn.Parameter = next(model.bridge.original_model.parameters())
    return parameter


def leave_a_hook(model: Any, data: Any) -> None:
    model.bridge.original_model.register_forward_hook(lambda module, args, output: None)


def change_a_weight(model: Any, data: Any) -> None:
    with torch.no_grad():
        first_parameter(model).mul_(1.001)


def change_the_data(model: Any, data: Any) -> None:
    data[0].batch.wrong_answers[0] += 1


AGAIN = "test_the_same_data_give_the_same_scores"
COUNTED = "test_passes_are_as_declared"
FAULTS: dict[str, tuple[str, Attribute]] = {
    "different each time": (AGAIN, faulty(after=lambda matrix, *_: matrix * torch.rand(()))),
    "all zero": (AGAIN, faulty(after=lambda matrix, *_: matrix * 0)),
    "changes the data": (AGAIN, faulty(before=change_the_data)),
    "a mean over pieces": ("test_batches_and_pieces_add_up", faulty(after=lambda m, _, data: m / len(data))),
    "one pass too many": (COUNTED, faulty(before=lambda model, data: model.forward(data[0].batch.clean, {}))),
    "no progress": (COUNTED, silent),
    "leaves a hook": ("test_the_model_is_left_as_it_was", faulty(before=leave_a_hook)),
    "changes a weight": ("test_the_model_is_left_as_it_was", faulty(before=change_a_weight)),
    "asks for gradients": (
        "test_the_model_is_left_as_it_was",
        faulty(before=lambda model, _: first_parameter(model).requires_grad_()),
    ),
    "swallows failures": ("test_the_model_is_left_as_it_was_by_a_failure", swallowing),
    "knows the backend": (
        "test_backends_agree",
        faulty(after=lambda matrix, model, _: matrix * (1 + 1e-4 * isinstance(model, BridgeModel))),
    ),
}


@contextmanager
def weights_kept(model: Any) -> Iterator[None]:
    kept = first_parameter(model).detach().clone()
    try:
        yield
    finally:
        first_parameter(model).data.copy_(kept)


def run_check(check: str, algorithm: Algorithm[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run one of the kit's checks on an algorithm that is registered as ``faulty``."""
    plugin = get_host().registry("algorithms")._claims["eap"][0][0]
    registry = Registry(KINDS["algorithms"], {"faulty": [(plugin, algorithm)]})
    monkeypatch.setattr("eap_plugin.api.resolve.algorithms", lambda: registry)
    model, chosen = load("ioi-llama", "transformer_lens"), Chosen("faulty", {})
    function = getattr(AlgorithmTests(), check)
    names = function.__code__.co_varnames[1 : function.__code__.co_argcount]
    given = {"chosen": chosen, "model": model, "provider": algorithm, "where": "last pass"}
    with weights_kept(model):
        function(**{name: given[name] for name in names})


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_algorithm_fails(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, attribute = FAULTS[fault]
    run_check(check, type("Faulty", (EAP,), {"name": "faulty", "attribute": plain})(), monkeypatch)
    with pytest.raises((AssertionError, eap_plugin.EapPluginError, pytest.fail.Exception)):
        run_check(check, type("Faulty", (EAP,), {"name": "faulty", "attribute": attribute})(), monkeypatch)


def test_an_option_without_help_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True)
    class Options:
        steps: int = option(1, help="")

    monkeypatch.setattr(EAP, "options", Options)
    with pytest.raises(AssertionError, match="option steps has no help"):
        AlgorithmTests().test_it_says_what_it_is(Chosen("eap", {}), EAP())


class Kit(BackendTests):
    backend = "transformer_lens"

    def make(self) -> Any:
        return bridge(build("llama", torch.float64))


Forward = Callable[..., torch.Tensor]
SHIFTED = "test_a_replaced_value_moves_the_logits_as_its_gradient_says"


def at(site: str, change: Callable[..., Any]) -> Callable[[Forward], Forward]:
    """Make a backend that changes the visitor of one site."""

    def mend(forward: Forward) -> Forward:
        def changed(self: Any, prompts: Any, visit: Mapping[str, Any]) -> torch.Tensor:
            return forward(self, prompts, {**visit, **({site: change(visit[site])} if site in visit else {})})

        return changed

    return mend


def without(name: str) -> Callable[[Forward], Forward]:
    """Make a backend that ignores one argument."""

    def mend(forward: Forward) -> Forward:
        return lambda self, prompts, visit: forward(self, replace(prompts, **{name: None}), visit)

    return mend


def leaving_a_hook(forward: Forward) -> Forward:
    def changed(self: Any, prompts: Any, visit: Any) -> torch.Tensor:
        handle = self.bridge.original_model.register_forward_hook(lambda module, args, output: None)
        logits = forward(self, prompts, visit)
        handle.remove()
        return logits

    return changed


def out_of_order(forward: Forward) -> Forward:
    """Make a backend that visits the MLP's input before attention's."""

    def changed(self: Any, prompts: Any, visit: Mapping[str, Any]) -> torch.Tensor:
        rest = {site: visitor for site, visitor in visit.items() if site != "mlp_in"}
        if "attn_in" in visit and "mlp_in" in visit:
            rest["attn_in"] = lambda layer, x: visit["attn_in"](layer, visit["mlp_in"](layer, x))
        return forward(self, prompts, rest)

    return changed


def misplaced(visitor: Any) -> Any:
    return lambda layer, value: visitor(1 - layer, value)


BACKEND_FAULTS: dict[str, tuple[str, Callable[[Forward], Forward]]] = {
    "ignores what is put there": (SHIFTED, at("k", lambda v: lambda layer, x: v(layer, x) and None)),
    "lets no gradient through": (SHIFTED, at("v", lambda v: lambda layer, x: v(layer, x.detach()))),
    "shows another value": ("test_the_self_check_passes", at("z", lambda v: lambda layer, x: v(layer, 1.01 * x))),
    "confuses layers": ("test_every_site_is_visited_once_a_layer_in_order", at("z", misplaced)),
    "visits sites out of order": ("test_every_site_is_visited_once_a_layer_in_order", out_of_order),
    "changes what is watched": ("test_watching_changes_nothing", at("mlp", lambda v: lambda layer, x: 1.001 * x)),
    "flattens heads": (
        "test_every_site_is_visited_once_a_layer_in_order",
        at("q", lambda v: lambda layer, x: v(layer, x.flatten(2)).view_as(x)),
    ),
    "ignores padding": ("test_padding_changes_nothing", without("attention_mask")),
    "gives the last logits only": ("test_logits_are_those_of_the_positions_asked_for", without("last")),
    "forgets its hooks": ("test_the_model_is_left_as_it_was", leaving_a_hook),
}


@pytest.mark.parametrize("fault", BACKEND_FAULTS)
def test_a_faulty_backend_fails(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check, mend = BACKEND_FAULTS[fault]
    with InFloat64():
        given = {"model": eap_plugin.wrap_model(Kit().make()), "side": "left"}
        eap_plugin.check(given["model"])
        function = getattr(Kit(), check)
        wanted = {name: given[name] for name in function.__code__.co_varnames[1 : function.__code__.co_argcount]}
        function(**wanted)
        monkeypatch.setattr(BridgeModel, "_forward", mend(BridgeModel._forward))
        with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
            function(**wanted)
