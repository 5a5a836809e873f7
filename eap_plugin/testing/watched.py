"""A model that counts the passes through it and can be made to fail during one."""

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
    """The failure that a watched model is told to raise."""


class Watched(ResidualModel):
    """A wrapper that runs another model in process and counts its passes.

    Attributes:
        forwards: the number of forward passes.
        backwards: the number of backward passes through its logits.
        prompts: the number of prompts in all forward passes.
        prompts_back: the number of prompts in all backward passes.
        fail_at: the forward pass, counted from 1, that fails half-way; ``None`` for none.
    """

    def __init__(self, model: ResidualModel, fail_at: int | None = None) -> None:
        """Wrap ``model``, with all counts at zero."""
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
        counted: Tensor = _CountBackward.apply(logits, self)  # type: ignore[no-untyped-call]
        return counted


class _CountBackward(torch.autograd.Function):
    """The identity on the logits, which counts backward passes."""

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
