"""Evaluations of circuits on a ``HookedTransformer`` give EAP-IG's numbers, and curves MIB's areas, on every model."""

from __future__ import annotations

import pytest

from tests.support import golden_circuits
from tests.support import golden_evaluation as golden
from tests.support.hooked import hooked_model

LIMIT = 1e-9


@pytest.mark.parametrize("intervention", golden.ABLATIONS)
@pytest.mark.parametrize("name", golden_circuits.MODELS)
def test_circuits_are_eap_igs(name: str, intervention: str) -> None:
    assert golden.worst_error(hooked_model(name, "float64"), name, intervention, "logit_diff") < LIMIT


@pytest.mark.parametrize("level", ["edge", "node", "neuron"])
@pytest.mark.parametrize("name", golden_circuits.MODELS)
def test_areas_are_mibs(name: str, level: str) -> None:
    assert max(golden.area_errors(hooked_model(name, "float64"), name, "patching", level)) < LIMIT
