"""Evaluations of circuits give EAP-IG's numbers, and curves give MIB's areas, in float64."""

from __future__ import annotations

from typing import Any

import nnsight
import pytest

from tests.oracle.precision import InFloat64
from tests.support import golden_cases
from tests.support import golden_evaluation as golden
from tests.support.bridges import bridge
from tests.support.golden_models import MAKERS

pytestmark = pytest.mark.exhaustive

LIMIT = 1e-9

WRAPPERS = {"bridge": bridge, "nnsight": nnsight.NNsight}


@pytest.fixture(scope="module", params=[(model, wrap) for model in MAKERS for wrap in WRAPPERS], ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[str, Any]:
    """Return a recorded model; its rotary angles are made in float64, too."""
    name, wrap = request.param
    golden_cases.weights(name)  # reads a file, which cannot be done in the context below
    with InFloat64():
        model = MAKERS[name](name)
    return name, WRAPPERS[wrap](model)


@pytest.mark.parametrize("intervention", golden.ABLATIONS)
def test_circuits_are_eap_igs(case: tuple[str, Any], intervention: str) -> None:
    """All recorded circuits: of edges, nodes and neurons, and with grouped queries also such as split a group."""
    name, model = case
    assert golden.worst_error(model, name, intervention, "logit_diff") < LIMIT


def test_divergence_is_eap_igs(case: tuple[str, Any]) -> None:
    name, model = case
    assert golden.worst_error(model, name, "patching", "kl") < LIMIT


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
@pytest.mark.parametrize("intervention", golden.ABLATIONS)
def test_areas_are_mibs(case: tuple[str, Any], intervention: str, level: str) -> None:
    name, model = case
    assert max(golden.area_errors(model, name, intervention, level)) < LIMIT
