"""How often a model is really run, and gone back through, by an algorithm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from torch import Tensor

from eap_plugin.algorithm.base import Cost
from eap_plugin.batch import Piece
from eap_plugin.metric.metric import METRICS
from eap_plugin.residual import ResidualModel, Site, Visitor
from eap_plugin.tapes import merge


def counted(model: ResidualModel, piece: Piece, algorithm: Any, options: Any) -> Cost:
    """The forward passes, and the backward passes that reach the residual stream's end, on one piece of data."""
    forwards = backwards = 0
    plain = model.forward

    def forward(tokens: Tensor, visit: Mapping[Site, Visitor], **about: Any) -> Tensor:
        nonlocal forwards
        forwards += 1
        return plain(tokens, merge({"final": watch}, visit), **about)

    def watch(layer: int, value: Tensor) -> None:
        if value.requires_grad:
            value.register_hook(count)

    def count(gradient: Tensor) -> None:
        nonlocal backwards
        backwards += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "forward", forward)
        model.run(algorithm.attribute, [piece], METRICS[0], options, lambda: None)
    return Cost(forwards, backwards)
