"""A model that counts the passes through it, and can be made to fail in the middle of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eap_plugin.data.prompts import Prompts
from eap_plugin.model.layer import Layer
from eap_plugin.model.norm import Norm
from eap_plugin.model.residual_model import ResidualModel
from eap_plugin.model.sites import Site, Visitor


class InTheMiddleError(Exception):
    """What a watched model raises when it is told to fail."""


class Watched(ResidualModel):
    """Another model as it is, run in process.

    Attributes:
        forwards: how often the model ran.
        backwards: how often a gradient came back through its logits.
        prompts: on how many prompts it ran, over all runs.
        prompts_back: for how many a gradient came back.
        fail_at: the forward pass, counted from 1, that fails half-way; ``None`` for none.
    """

    def __init__(self, model: ResidualModel, fail_at: int | None = None) -> None:
        """Watch ``model``."""
        self._model, self.fail_at = model, fail_at
        self.forwards = self.backwards = self.prompts = self.prompts_back = 0
        super().__init__(model.graph, model.info)

    def parameter(self) -> Tensor:
        """See ``ResidualModel.parameter``."""
        return self._model.parameter()

    def modules(self) -> Iterable[nn.Module]:
        """See ``ResidualModel.modules``."""
        return self._model.modules()

    @property
    def layers(self) -> Sequence[Layer]:
        """See ``ResidualModel.layers``."""
        return self._model.layers

    @property
    def final_norm(self) -> Norm | None:
        """See ``ResidualModel.final_norm``."""
        return self._model.final_norm

    @property
    def sites(self) -> frozenset[Site]:
        """See ``ResidualModel.sites``."""
        return self._model.sites

    def frozen(self) -> AbstractContextManager[None]:
        """See ``ResidualModel.frozen``."""
        return self._model.frozen()

    def _forward(self, prompts: Prompts, visit: Mapping[Site, Visitor]) -> Float[Tensor, "batch vocab"]:
        """See ``ResidualModel.forward``."""
        self.forwards += 1
        self.prompts += len(prompts)
        if self.forwards == self.fail_at:
            visit = {**visit, "z": _fail}
        logits = self._model.forward(prompts, visit)
        counted: Tensor = _Backward.apply(logits, self)  # type: ignore[no-untyped-call]
        return counted


class _Backward(torch.autograd.Function):
    """The logits as they are; counts the gradients that come back through them."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, watched: Watched) -> Tensor:
        ctx.watched = watched
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *grad: Any) -> tuple[Tensor, None]:
        ctx.watched.backwards += 1
        ctx.watched.prompts_back += len(grad[0])
        return grad[0], None


def _fail(layer: int, value: Tensor) -> None:
    raise InTheMiddleError
