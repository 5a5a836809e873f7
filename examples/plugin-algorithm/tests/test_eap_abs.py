"""The checks that the built-in algorithms pass, and tests of this algorithm alone."""

from __future__ import annotations

import eap_plugin
from eap_plugin.testing import AlgorithmTests


class TestEapAbs(AlgorithmTests):
    algorithm = "eap-abs"


class TestWithALimit(AlgorithmTests):
    algorithm = "eap-abs"
    options = {"least": 0.1}


def test_prompts_do_not_cancel() -> None:
    """On one prompt the score is the absolute value of EAP's; on several it is their mean, thus at least as large."""
    model = eap_plugin.load_model("ioi-llama")
    batch = eap_plugin.load_task("ioi", model, n_prompts=4).batch()
    rows = [batch.select(slice(i, i + 1)) for i in range(4)]
    apart = [eap_plugin.prune_scores(model, row, algorithm="eap").abs().matrix for row in rows]
    together = eap_plugin.prune_scores(model, batch, algorithm="eap-abs")
    assert (together.matrix - sum(apart) / 4).abs().max() < 1e-5 * together.matrix.max()
    assert (together.matrix >= eap_plugin.prune_scores(model, batch, algorithm="eap").abs().matrix - 1e-5).all()
